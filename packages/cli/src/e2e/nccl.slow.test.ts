/** Workers over NCCL, played by doubles on lavapipe's memory: the numbers of the run over sockets, and what is said where it can't be. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { openGpu, testAdapters } from '@realhf/backends/node';
import { labelToggle, VulkanLayer, withVulkanLayer } from '@realhf/comm-nccl';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { buildDoubles, canRun, type Doubles } from '../../../comm/nccl/src/testing/doubles.js';
import { useReal } from './real-process.js';
import { runDir } from './resume-suite.js';
import { expectSameStats, ppoOnLm, sftOn, writeRuntimeInputs } from './runtime-suite.js';
import { useFolder } from './tiny.js';

const hasLavapipe = (await testAdapters()).includes('system-software') && canRun();

describe.runIf(hasLavapipe)('two workers', () => {
  const cwd = useFolder();
  const start = useReal(undefined, { nccl: true });
  let doubles: Doubles;
  let env: Record<string, string>;
  beforeAll(async () => {
    writeRuntimeInputs(cwd);
    doubles = buildDoubles();
    const { device } = await withVulkanLayer({}, () =>
      openGpu({ adapter: 'system-software', toggles: [labelToggle] }),
    );
    device.destroy();
    const uuid = new VulkanLayer()
      .devices()
      .find((d) => d.shown)!
      .uuid.replaceAll('-', '');
    env = {
      ...doubles.env,
      REALHF_ADAPTER: 'system-software',
      REALHF_DOUBLE_UUID: uuid,
      LP_NUM_THREADS: '1',
    };
  }, 120_000);
  afterAll(() => {
    doubles.close();
  });
  const run = async (
    words: readonly string[],
    trial: string,
    more: Record<string, string> = {},
  ) => {
    const process = start([...words, 'n_gpus_per_node=2', `trial_name=${trial}`], {
      cwd,
      env: { ...env, ...more },
    });
    const code = await process.ended;
    const dir = runDir({ cwd, experiment: words[0]! }, trial);
    return { code, dir, printed: process.stdout + process.stderr };
  };
  const log = (dir: string) => readFileSync(join(dir, 'logs/model_worker-1.log'), 'utf8');

  it('PPO that trains cut by tensors, generates cut by data and moves parameters between', async () => {
    const words = [
      ...ppoOnLm,
      'allocation_mode=manual',
      ...['actor_train', 'critic_train'].map((c) => `${c}.parallel.model_parallel_size=2`),
      ...['actor_gen', 'ref_inf', 'rew_inf'].map((c) => `${c}.parallel.data_parallel_size=2`),
      'critic_inf.parallel.pipeline_parallel_size=2',
      ...['actor_train', 'critic_train', 'actor_gen', 'ref_inf', 'rew_inf', 'critic_inf'].map(
        (c) => `${c}.device_mesh=NODE01:0,1`,
      ),
    ];
    const nccl = await run(words, 'nccl');
    expect(nccl.code, nccl.printed).toBe(0);
    expect(nccl.printed).toMatch(/2 workers: .*; tensors over NCCL 2\.28\.0 on WebGPU's buffers/);
    const socket = await run([...words, 'comm=socket'], 'socket');
    expect(socket.printed).toContain('tensors through the host over sockets (comm=socket)');
    for (const mfc of ['actor_train', 'critic_train']) expectSameStats(nccl.dir, socket.dir, mfc);
  });

  it('memory that can not be shared: auto takes sockets, nccl copies and says what that costs', async () => {
    const words = [...sftOn('one', 12), 'allocation_mode=d2m1p1', 'exp_ctrl.benchmark_steps=1'];
    const fail = { REALHF_DOUBLE_FAIL: 'cuImportExternalMemory:1' };
    const [auto, forced] = [
      await run(words, 'auto', fail),
      await run([...words, 'comm=nccl'], 'forced', fail),
    ];
    expect(auto.printed).toMatch(/over sockets \(cuImportExternalMemory failed/);
    expect(forced.printed).toMatch(/tensors over NCCL .* staged through the host/);
    expect(log(forced.dir)).toMatch(/NCCL works on copies of WebGPU's buffers, .* GB\/s each way/);
    expectSameStats(forced.dir, auto.dir, 'trainDefault');
    const none = await run([...words, 'comm=nccl'], 'none', { REALHF_NCCL: '/nowhere/libnccl.so' });
    expect(none.code).toBe(1);
    expect(none.printed).toMatch(/comm=nccl can't be: .*libnccl was not found/);
  });
});
