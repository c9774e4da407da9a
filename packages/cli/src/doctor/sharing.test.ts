/** What the doctor says of CUDA and NCCL: without them, and with their doubles on lavapipe's memory. */
import { testAdapters } from '@realhf/backends/node';
import * as nccl from '@realhf/comm-nccl';
import { afterEach, expect, test, vi } from 'vitest';

import { buildDoubles, canRun } from '../../../comm/nccl/src/testing/doubles.js';
import { examineSharing } from './sharing.js';

const hasLavapipe = (await testAdapters()).includes('system-software') && canRun();

afterEach(() => {
  vi.unstubAllEnvs();
});

test('without the package', async () => {
  const missing = () => Promise.reject(new Error('no such package'));
  const report = await examineSharing('system-software', missing);
  expect(report?.works).toBe('not looked for: npm install @realhf/comm-nccl');
});

test.runIf(hasLavapipe)('without CUDA: what was looked for, and the devices', async () => {
  vi.stubEnv('REALHF_CUDA', '/nowhere/libcuda.so');
  vi.stubEnv('REALHF_NCCL', '/nowhere/libnccl.so');
  const report = await examineSharing('system-software', () => Promise.resolve(nccl));
  expect(report?.cuda).toMatch(/looked for \/nowhere\/libcuda.so/);
  expect(report?.nccl).toMatch(/looked for \/nowhere\/libnccl.so/);
  expect(report?.works).toMatch(/^no: NVIDIA's libcuda was not found/);
  expect(report?.gpus[0]).toMatch(/^llvmpipe .*, [\da-f]{8}-[\da-f-]{27}, no PCI address, Mesa/);
});

test.runIf(hasLavapipe)('with CUDA and NCCL: a round trip through one memory', async () => {
  const doubles = buildDoubles();
  for (const name of ['REALHF_CUDA', 'REALHF_NCCL'] as const) vi.stubEnv(name, doubles.env[name]);
  await examineSharing('system-software', () => Promise.resolve(nccl));
  const [device] = new nccl.VulkanLayer().devices();
  vi.stubEnv('REALHF_DOUBLE_UUID', device!.uuid.replaceAll('-', ''));
  const report = await examineSharing('system-software', () => Promise.resolve(nccl));
  expect(report).toMatchObject({
    cuda: expect.stringMatching(/^12\.4 \(.*libcuda-double\.so\)$/) as string,
    nccl: expect.stringMatching(/^2\.28\.0 \(/) as string,
    works: expect.stringMatching(
      /^works: WebGPU → CUDA → WebGPU checked on double of a GPU/,
    ) as string,
  });
  doubles.close();
});
