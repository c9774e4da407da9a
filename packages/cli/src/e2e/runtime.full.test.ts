/** Every layout as real processes, and thirty kills: `npm run test:full`. */
import { beforeAll, describe, it } from 'vitest';

import { useReal } from './real-process.js';
import { Draws, expectSameRuns, finish, runDir } from './resume-suite.js';
import {
  expectSameStats,
  killWorkersAndFinish,
  layoutWords,
  ppoOnLm,
  runToEnd,
  sftOn,
  writeRuntimeInputs,
} from './runtime-suite.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
const draws = new Draws();
beforeAll(() => {
  writeRuntimeInputs(cwd);
});

const layouts = ['d3m1p1', 'd1m3p1', 'd1m4p1', 'd1m1p4', 'd2m2p2'];

describe.each([
  { words: sftOn('lm'), mfcs: ['trainDefault'] },
  { words: ppoOnLm, mfcs: ['actor_train', 'critic_train'] },
])('$words.0', ({ words, mfcs }) => {
  let one = '';
  beforeAll(async () => {
    one = await runToEnd(start, cwd, words, 'one');
  }, 600_000);
  // With one minibatch: more are cut from each data-parallel rank's part.
  it.each(words[0] === 'ppo' ? ['d1m4p1', 'd2m2p2'] : layouts)(
    '%s computes what one process computes',
    async (layout) => {
      const many = await runToEnd(start, cwd, [...words, ...layoutWords(layout)], layout);
      for (const mfc of mfcs) expectSameStats(one, many, mfc);
    },
  );
});

it('mixtral: tensor and pipeline parallel workers compute what one process computes', async () => {
  const words = [...sftOn('moe'), 'experiment_name=moe'].filter((w) => w !== 'experiment_name=sft');
  const run = async (layout: string, options: string[]) => {
    await finish(start([...words, ...options, `trial_name=${layout}`], { cwd }));
    return runDir({ cwd, experiment: 'moe' }, layout);
  };
  const one = await run('one', []);
  // Data parallel parts balance their experts each for itself.
  for (const layout of ['d1m4p1', 'd1m1p4', 'd1m2p2'])
    expectSameStats(one, await run(layout, layoutWords(layout)), 'trainDefault');
});

it('a run goes on in another layout, and from many workers in one process', async () => {
  const words = [...sftOn('one', 4), 'exp_ctrl.save_freq_steps=2'];
  const whole = await runToEnd(start, cwd, words, 'alone');
  const part = (steps: number, layout: string[]) =>
    runToEnd(
      start,
      cwd,
      [...words, `exp_ctrl.benchmark_steps=${steps}`, 'recover_mode=auto', ...layout],
      'relaid',
    );
  await part(2, layoutWords('d2m1p1'));
  await part(4, layoutWords('d1m2p1'));
  expectSameStats(whole, await part(6, []), 'trainDefault');
});

it('thirty kills of workers end with the same bytes', async () => {
  const plan = {
    start,
    cwd,
    words: [
      ...sftOn('one', 4).map((w) => (w === 'experiment_name=sft' ? 'experiment_name=kills' : w)),
      ...layoutWords('d2m1p1'),
      'exp_ctrl.save_freq_steps=2',
      'exp_ctrl.total_train_epochs=10',
    ],
    experiment: 'kills',
    steps: 60,
    kills: 30,
  };
  await runToEnd(start, cwd, plan.words, 'whole');
  await killWorkersAndFinish(plan, 'killed', draws);
  expectSameRuns(plan, 'whole', 'killed');
});
