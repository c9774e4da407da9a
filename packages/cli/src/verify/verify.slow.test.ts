import { fileURLToPath } from 'node:url';

import { WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { expect, test } from 'vitest';

import { verify, verifyPasses } from './verify.js';

const golden = fileURLToPath(new URL('../../../model/src/__fixtures__/golden/', import.meta.url));

// Mistral's window is shorter than its sequences.
test.each(['qwen2', 'qwen3', 'mistral', 'mixtral', 'gemma'])(
  'golden checkpoint of %s',
  async (family) => {
    const gpu = await openGpu({ adapter: 'swiftshader' });
    const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
    const report = await verify(golden + family, ops);
    expect(report.family).toBe(family);
    expect(verifyPasses(report), JSON.stringify(report)).toBe(true);
    ops.destroy();
  },
);
