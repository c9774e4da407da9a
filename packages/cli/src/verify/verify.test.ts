import { fileURLToPath } from 'node:url';

import { WebGpuOps } from '@realhf/backends';
import { openGpu, testAdapters } from '@realhf/backends/node';
import { expect, test } from 'vitest';

import { verify, verifyPasses } from './verify.js';

const golden = fileURLToPath(new URL('../../../model/src/__fixtures__/golden/', import.meta.url));

for (const adapter of await testAdapters()) {
  test(`golden checkpoints on ${adapter}`, async () => {
    const gpu = await openGpu({ adapter });
    const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
    for (const family of ['llama', 'llama3-rope', 'gpt2']) {
      const report = await verify(golden + family, ops);
      console.log(JSON.stringify(report));
      expect(verifyPasses(report), JSON.stringify(report)).toBe(true);
    }
    ops.destroy();
  });
}
