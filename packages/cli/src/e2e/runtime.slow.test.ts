/** Runs on worker processes: the same numbers as in one process, and workers that are killed. runtime.full.test.ts has more. */
import { beforeAll, describe, expect, it, vi } from 'vitest';

import { readStatus } from '../lifecycle/run-status.js';
import { useReal } from './real-process.js';
import { Draws, expectSameRuns, runDir, type KillPlan } from './resume-suite.js';
import {
  expectSameStats,
  killWorker,
  killWorkersAndFinish,
  layoutWords,
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

it('sft on three data-parallel workers computes what one process computes', async () => {
  const one = await runToEnd(start, cwd, sftOn('lm'), 'one');
  const many = await runToEnd(start, cwd, [...sftOn('lm'), ...layoutWords('d3m1p1')], 'd3');
  expectSameStats(one, many, 'trainDefault');
  const status = readStatus(many);
  expect(status).toMatchObject({ state: 'COMPLETED', step: 2, steps: 2 });
  expect(status?.workers.map((w) => w.name)).toEqual([0, 1, 2].map((r) => `model_worker/${r}`));
});

describe('workers that are killed', () => {
  const plan: KillPlan = {
    start,
    cwd,
    words: [...sftOn('one', 4), ...layoutWords('d2m1p1'), 'exp_ctrl.save_freq_steps=2'],
    experiment: 'sft',
    steps: 6,
    kills: 2,
  };

  it('the run goes on from its last checkpoint and ends with the same bytes', async () => {
    await runToEnd(start, cwd, plan.words, 'whole');
    await killWorkersAndFinish(plan, 'killed', draws);
    expectSameRuns(plan, 'whole', 'killed');
  });

  it('without recovery the run ends at once with the name, the cause and the log', async () => {
    const process = start([...plan.words, 'trial_name=dead'], { cwd });
    const run = runDir(plan, 'dead');
    await killWorker(process, run, draws, 'start');
    const killed = performance.now();
    expect(await process.ended).toBe(1);
    expect(performance.now() - killed).toBeLessThan(30_000);
    expect(process.stderr).toMatch(
      /real: worker model_worker\/\d \(process \d+\) ended by signal SIGKILL; last lines of .*logs\/model_worker-\d\.log: /,
    );
    expect(readStatus(run)).toMatchObject({ state: 'ERROR' });
    // Nobody is left behind.
    for (const { pid } of readStatus(run)!.workers)
      expect(() => globalThis.process.kill(pid, 0)).toThrow('ESRCH');
  });
});

/** Resolves once the workers of a run have their process ids in its status. */
async function workersOf(run: string): Promise<readonly { pid: number }[]> {
  for (;;) {
    const workers = readStatus(run)?.workers ?? [];
    if (workers.length > 0) return workers;
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}

it('workers end with their run, however it ends', async () => {
  const words = [...sftOn('one', 4), ...layoutWords('d2m1p1')];
  const process = start([...words, 'trial_name=orphans'], { cwd });
  const workers = await workersOf(runDir({ cwd, experiment: 'sft' }, 'orphans'));
  process.kill('SIGKILL');
  await process.ended;
  await vi.waitFor(
    () => {
      for (const { pid } of workers) expect(() => globalThis.process.kill(pid, 0)).toThrow('ESRCH');
    },
    { timeout: 30_000, interval: 20 },
  );
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
