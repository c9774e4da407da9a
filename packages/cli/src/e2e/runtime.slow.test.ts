/** Runs on worker processes: the same numbers as in one process, and workers that are killed. runtime.full.test.ts has more. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, expect, it, vi } from 'vitest';

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
const words = [...sftOn('one', 4), 'exp_ctrl.save_freq_steps=2'];
const plan: KillPlan = {
  start,
  cwd,
  words: [...words, ...layoutWords('d2m1p1')],
  experiment: 'sft',
  steps: 6,
  kills: 2,
};

beforeAll(async () => {
  writeRuntimeInputs(cwd);
  await runToEnd(start, cwd, plan.words, 'whole');
}, 600_000);

it('two data-parallel workers compute what one process computes', async () => {
  const many = runDir(plan, 'whole');
  expectSameStats(await runToEnd(start, cwd, words, 'alone'), many, 'trainDefault');
  const status = readStatus(many);
  expect(status).toMatchObject({ state: 'COMPLETED', step: 6, steps: 6 });
  expect(status?.workers.map((w) => w.name)).toEqual(['model_worker/0', 'model_worker/1']);
});

it('real gen on two workers writes the file of one device', async () => {
  const gen = [
    ...['gen', 'experiment_name=gen', 'model.init_from_scratch=true', 'model.config=one'],
    // The last of four batches has one prompt for two workers.
    ...[
      'dataset.path=prompts.jsonl',
      'dataset.train_bs_n_seqs=5',
      'gen.max_new_tokens=6',
      'gen.min_new_tokens=1',
    ],
  ];
  const answers = async (trial: string, options: string[]) => {
    const run = await runToEnd(start, cwd, [...gen, ...options], trial);
    return readFileSync(join(run, 'output.jsonl'), 'utf8');
  };
  const one = await answers('one', []);
  expect(one.split('\n')).toHaveLength(17);
  expect(await answers('two', layoutWords('d2m1p1'))).toBe(one);
  expect(readStatus(runDir({ cwd, experiment: 'gen' }, 'two'))?.state).toBe('COMPLETED');
});

it('a run whose workers are killed goes on and ends with the same bytes', async () => {
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

/** Resolves once the workers of a run have their process ids in its status. */
async function workersOf(run: string): Promise<readonly { pid: number }[]> {
  return vi.waitUntil(
    () => {
      const workers = readStatus(run)?.workers ?? [];
      return workers.length > 0 && workers;
    },
    { timeout: 60_000, interval: 5 },
  );
}

it('workers end with their run, however it ends', async () => {
  const process = start([...plan.words, 'trial_name=orphans'], { cwd });
  const workers = await workersOf(runDir(plan, 'orphans'));
  process.kill('SIGKILL');
  await process.ended;
  await vi.waitFor(
    () => {
      for (const { pid } of workers) expect(() => globalThis.process.kill(pid, 0)).toThrow('ESRCH');
    },
    { timeout: 30_000, interval: 20 },
  );
});
