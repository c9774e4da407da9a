/** Runs on workers under `real pause`, `resume`, `stop` and `ps`; workers that meet in Redis; an error of one rank. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { createClient } from '@redis/client';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

import { startRedis, type RedisServer } from '../../../comm/src/testing/redis-server.js';
import { commands } from '../commands.js';
import { testContext } from '../experiments/test-run.js';
import { readStatus } from '../lifecycle/run-status.js';
import { runCli } from '../run-cli.js';
import { useReal } from './real-process.js';
import { expectSameRuns, finish, metricsLines, runDir, type KillPlan } from './resume-suite.js';
import { layoutWords, sftOn, writeRuntimeInputs } from './runtime-suite.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
const plan: KillPlan = {
  start,
  cwd,
  words: [
    ...sftOn('one', 4),
    ...layoutWords('d2m1p1'),
    'exp_ctrl.total_train_epochs=2',
    'exp_ctrl.save_freq_epochs=1',
  ],
  experiment: 'sft',
  steps: 12,
  kills: 0,
};
let redis: RedisServer | undefined;

beforeAll(async () => {
  writeRuntimeInputs(cwd);
  redis = await startRedis();
});
afterAll(() => redis?.stop());

/** A command about runs, in this process; what it printed. */
async function real(...words: string[]): Promise<string> {
  const context = testContext();
  const code = await runCli(commands, [...words, `fileroot=${join(cwd, 'real-runs')}`], {
    ...context,
    version: '0',
  });
  expect(code, context.printed()).toBe(0);
  return context.printed();
}

const wait = { timeout: 60_000, interval: 5 };

it('workers meet in Redis and leave nothing there', async () => {
  const client = createClient({ url: redis!.url });
  await client.connect();
  const run = start([...plan.words, 'trial_name=whole', `redis_url=${redis!.url}`], { cwd });
  const keys = await vi.waitUntil(async () => {
    const found = await client.keys('*sft/whole*');
    return found.some((k) => k.includes('model_worker/1')) && found;
  }, wait);
  expect(keys.some((k) => k.endsWith('request_reply_stream/master'))).toBe(true);
  await finish(run);
  expect(await client.keys('*')).toEqual([]);
  client.destroy();
});

it('a run that is paused, goes on, is stopped and started again ends with the same bytes', async () => {
  const trial = [...plan.words, 'trial_name=held', 'recover_mode=auto'];
  const dir = runDir(plan, 'held');
  const held = start(trial, { cwd });
  const steps = () => metricsLines(dir).length;
  await vi.waitUntil(() => steps() > 1, wait);
  expect(await real('pause', 'sft')).toContain('sft/held: pause after the step that runs');
  await vi.waitUntil(() => readStatus(dir)?.state === 'PAUSED', wait);
  const at = steps();
  expect(await real('ps')).toMatch(
    new RegExp(`sft/held {2}PAUSED {2}step ${at}/12 .*\n {2}model_worker/0 {2}PAUSED {2}process`),
  );
  // Several steps' time.
  await new Promise((resolve) => {
    setTimeout(resolve, 700);
  });
  expect(steps()).toBe(at);
  expect(held.running).toBe(true);

  await real('resume', 'sft/held');
  await vi.waitUntil(() => steps() > at, wait);
  expect(readStatus(dir)?.state).toBe('RUNNING');
  await real('stop', 'sft');
  await finish(held);
  const stopped = steps();
  expect(stopped).toBeLessThan(plan.steps);
  expect(held.stderr).toContain(`stopped at step ${stopped} of 12; go on with recover_mode=auto`);
  expect(readStatus(dir)).toMatchObject({ state: 'INTERRUPTED', step: stopped });
  expect(await real('ps', '--all', 'true')).toMatch(/sft\/held {2}INTERRUPTED/);

  const again = start(trial, { cwd });
  await finish(again);
  expect(again.stderr).toContain(`resumed from step ${stopped}`);
  expectSameRuns(plan, 'whole', 'held');
});

it('an error of one rank reaches the user at once, while the others wait for it in a sum', async () => {
  const thrown = join(cwd, 'thrown');
  const file = join(cwd, 'faulty.mts');
  writeFileSync(
    file,
    `import { writeFileSync } from 'node:fs';
     import { DataError, interfaces } from '@realhf/api';
     import { SftInterface } from '@realhf/model';
     import * as cli from '@realhf/cli';
     class Faulty extends SftInterface {
       async trainStep(model, input, call) {
         if (input.ids.includes('r5')) {
           writeFileSync(${JSON.stringify(thrown)}, String(Date.now()));
           throw new DataError("item 'r5' is spoilt");
         }
         return super.trainStep(model, input, call);
       }
     }
     interfaces.register('faulty_sft', () => new Faulty());
     cli.registerExperiment({
       name: 'faulty',
       summary: 'SFT that fails on one rank',
       schema: cli.sftSchema,
       async spec(config) {
         const spec = await cli.sftSpec(config);
         const interfaceImpl = { type_: 'faulty_sft', args: {} };
         return { ...spec, mfcs: spec.mfcs.map((m) => ({ ...m, interfaceImpl })) };
       },
     });`,
  );
  const words = [...plan.words.slice(2), 'experiment_name=faulty', 'trial_name=one'];
  const run = start(['run', file, ...words], { cwd });
  expect(await run.ended).toBe(1);
  expect(Date.now() - Number(readFileSync(thrown, 'utf8'))).toBeLessThan(4000);
  expect(run.stderr).toMatch(
    /^real: MFC 'trainDefault' .* failed at step \d .*: model_worker\/\d: item 'r5' is spoilt$/m,
  );
  const { error } = readStatus(runDir({ cwd, experiment: 'faulty' }, 'one'))!;
  expect(error).toMatch(/model_worker\/\d: item 'r5'/);
});
