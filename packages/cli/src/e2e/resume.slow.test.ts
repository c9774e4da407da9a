/** A few kills of small runs; resume.full.test.ts has many. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { useReal } from './real-process.js';
import {
  Draws,
  expectSameRuns,
  finish,
  killAndFinish,
  metricsLines,
  runDir,
  type KillPlan,
} from './resume-suite.js';
import { ppoWords, sftWords, writeInputs } from './runs.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
const draws = new Draws();

describe('sft', () => {
  const plan: KillPlan = {
    start,
    cwd,
    words: [...sftWords, 'exp_ctrl.total_train_epochs=2', 'exp_ctrl.save_freq_steps=2'],
    experiment: 'sft',
    steps: 10,
    kills: 3,
  };
  beforeAll(async () => {
    writeInputs(cwd);
    await finish(start([...plan.words, 'trial_name=whole'], { cwd }));
  }, 300_000);

  it('killed and restarted ends with the same bytes', async () => {
    await killAndFinish(plan, 'killed', draws);
    expectSameRuns(plan, 'whole', 'killed');
  });

  it('stopped by SIGINT saves, says how to go on, and goes on exactly', async () => {
    const words = [...plan.words, 'trial_name=stopped', 'recover=auto'];
    const first = start(words, { cwd });
    const run = runDir(plan, 'stopped');
    while (first.running && metricsLines(run).length < 1)
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    first.kill('SIGINT');
    expect(await first.ended, first.stderr).toBe(130);
    const done = metricsLines(run).length;
    expect(done).toBeLessThan(plan.steps);
    expect(first.stderr).toContain('stopping: this step is finished and saved first');
    expect(first.stderr).toContain(
      `stopped at step ${done} of 10; go on with recover_mode=auto trial_name=stopped\n`,
    );
    const saved = `step-${String(done).padStart(6, '0')}`;
    expect(readdirSync(join(run, 'checkpoints'))).toContain(saved);
    await finish(start(words, { cwd }));
    // Its checkpoints stand at other steps; what was computed is the same.
    expectSameRuns(plan, 'whole', 'stopped');
  });
});

describe('ppo', () => {
  const plan: KillPlan = {
    start,
    cwd,
    words: [...ppoWords, 'exp_ctrl.total_train_epochs=2', 'exp_ctrl.save_freq_steps=1'],
    experiment: 'ppo',
    steps: 6,
    kills: 2,
  };

  it('killed and restarted ends with the same bytes', async () => {
    writeInputs(cwd);
    await finish(start([...plan.words, 'trial_name=whole'], { cwd }));
    await killAndFinish(plan, 'killed', draws);
    expectSameRuns(plan, 'whole', 'killed');
  });
});
