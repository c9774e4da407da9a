/** What can be told without matrices: when f16 is used, and which plan. f16.slow.test.ts emulates the kernel. */
import { expect, test } from 'vitest';

import { openNullGpu } from '../../node/open-gpu.js';
import { Recorder } from '../../webgpu/recorder.js';
import { f16PlanFor, f16Tiles } from './f16.js';

test('f16 needs to be asked for and a device with matrices', async () => {
  const { device } = await openNullGpu();
  const options = { device, adapter: 'null', isCpu: false };
  expect(new Recorder(options).f16Matmul).toBe(false);
  // The null adapter has the feature, without any shape.
  expect(new Recorder({ ...options, matmulPrecision: 'f16' }).f16Matmul).toBe(false);
});

test('a tile for every size', () => {
  const p = { transA: false, transB: true, aRow: 0, aCol: 1, bRow: 1, bCol: 0, k: 2048 };
  const [large, middle, wide, narrow, flat, tiny] = f16Tiles;
  expect(f16PlanFor({ ...p, m: 4096, n: 4096 }).tile).toBe(large);
  expect(f16PlanFor({ ...p, m: 200, n: 2048 }).tile).toBe(middle);
  expect(f16PlanFor({ ...p, m: 64, n: 32000 }).tile).toBe(wide);
  expect(f16PlanFor({ ...p, m: 64, n: 2048 }).tile).toBe(narrow);
  expect(f16PlanFor({ ...p, m: 1, n: 32000 }).tile).toBe(flat);
  expect(f16PlanFor({ ...p, m: 1, n: 64 }).tile).toBe(tiny);
});
