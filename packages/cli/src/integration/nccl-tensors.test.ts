/** Tensors of WebGpuOps through the NCCL communicator: what is recorded is done before, and read right after. */
import type { Tensor } from '@realhf/api';
import { WebGpuOps } from '@realhf/backends';
import { openGpu, testAdapters } from '@realhf/backends/node';
import { memoryNameResolve } from '@realhf/comm';
import {
  labelToggle,
  ncclTensorCommunicator,
  VulkanLayer,
  withVulkanLayer,
} from '@realhf/comm-nccl';
import { afterEach, expect, test, vi } from 'vitest';

import { deviceTensor } from '../../../backends/src/webgpu/device-tensor.js';
import { buildDoubles, canRun } from '../../../comm/nccl/src/testing/doubles.js';

const hasLavapipe = (await testAdapters()).includes('system-software') && canRun();

afterEach(() => {
  vi.unstubAllEnvs();
});

test.runIf(hasLavapipe)('tensors and views in the pool, on shared memory', async () => {
  const doubles = buildDoubles();
  for (const name of ['REALHF_CUDA', 'REALHF_NCCL'] as const) vi.stubEnv(name, doubles.env[name]);
  const { device, adapterName } = await withVulkanLayer({}, () =>
    openGpu({ adapter: 'system-software', toggles: [labelToggle] }),
  );
  const gpu = new VulkanLayer().devices().find((d) => d.shown)!;
  vi.stubEnv('REALHF_DOUBLE_UUID', gpu.uuid.replaceAll('-', ''));
  const ops = new WebGpuOps({ device, adapter: adapterName, isCpu: true });
  const comm = await ncclTensorCommunicator({
    device,
    rank: 0,
    size: 1,
    names: memoryNameResolve(),
    key: 'integration/nccl',
    rangeOf: (t, written) => ops.deviceRange(t, written),
    memory: 'shared',
  });
  const whole = ops.zeros([256]);
  const part = ops.view(whole, 128, [100]);
  const x = ops.empty([100]);
  ops.fill(x, 3);
  const version = (t: Tensor) => deviceTensor(t).buffer.version;
  const [read, written] = [version(x), version(part)];
  await comm.allGather(x, part);
  // What is kept of a buffer (weights in f16) must know that NCCL wrote it.
  expect(version(part)).toBeGreaterThan(written);
  expect(version(x)).toBe(read);
  ops.fill(x, 4);
  await comm.allReduce(x);
  const seen = await ops.read(whole);
  expect([seen[127], seen[128], seen[227], seen[228]]).toEqual([0, 3, 3, 0]);
  expect((await ops.read(x))[99]).toBe(4);
  await comm.close();
  ops.destroy();
  doubles.close();
});
