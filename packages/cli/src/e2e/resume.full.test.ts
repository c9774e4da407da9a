/** Many kills, at moments drawn anew each time: `npm run test:full`. */
import { describe, it } from 'vitest';

import { useReal } from './real-process.js';
import { Draws, expectSameRuns, finish, killAndFinish, type KillPlan } from './resume-suite.js';
import { ppoWords, sftWords, writeInputs } from './runs.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
const draws = new Draws();

const plans: readonly KillPlan[] = [
  {
    start,
    cwd,
    words: [...sftWords, 'exp_ctrl.total_train_epochs=10', 'exp_ctrl.save_freq_steps=3'],
    experiment: 'sft',
    steps: 50,
    kills: 20,
  },
  {
    start,
    cwd,
    words: [...ppoWords, 'exp_ctrl.total_train_epochs=8', 'exp_ctrl.save_freq_steps=2'],
    experiment: 'ppo',
    steps: 24,
    kills: 15,
  },
  {
    // Only the two newest checkpoints stay: kills also fall into the removal of old ones.
    start,
    cwd,
    words: [
      ...sftWords.map((w) => (w === 'experiment_name=sft' ? 'experiment_name=pruned' : w)),
      'exp_ctrl.total_train_epochs=10',
      'exp_ctrl.save_freq_steps=1',
      'exp_ctrl.keep_checkpoints=2',
    ],
    experiment: 'pruned',
    steps: 50,
    kills: 20,
  },
];

describe.each(plans)('$experiment', (plan) => {
  it(`killed ${plan.kills} times ends with the same bytes`, async () => {
    writeInputs(cwd);
    await finish(start([...plan.words, 'trial_name=whole'], { cwd }));
    await killAndFinish(plan, 'killed', draws);
    expectSameRuns(plan, 'whole', 'killed');
  });
});
