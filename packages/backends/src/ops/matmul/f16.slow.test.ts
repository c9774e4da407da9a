/** The f16 kernel with emulated matrices: staging, packing, bounds, scale and epilogue, on software adapters with f16. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { openGpu, testAdapters } from '../../node/open-gpu.js';
import { download, upload } from '../../testing/device-data.js';
import { expectClose, normal, random } from '../../testing/numbers.js';
import { Recorder } from '../../webgpu/recorder.js';
import { f16Matmul, f16Tiles, type F16Tile } from './f16.js';
import { matmulReference } from './matmul.reference.js';
import { matmulProblem } from './problem.js';

// SwiftShader has no f16.
const adapters = (await testAdapters()).filter((name) => name === 'system-software');

describe.each(adapters)('%s', (adapter) => {
  let r: Recorder;
  beforeAll(async () => {
    const gpu = await openGpu({ adapter, f16: true });
    r = new Recorder({ device: gpu.device, adapter: gpu.adapterName, isCpu: false });
  });
  afterAll(() => {
    r.destroy();
  });

  test.each([
    [false, true, 1],
    [false, false, 1e-9],
    [true, false, 1e-9],
    [true, true, 1e3],
  ] as const)('transA %s, transB %s, a times %f', async (transA, transB, std) => {
    const [m, n, k] = [17, 70, 131];
    const rand = random(m);
    const [a, b] = [normal(m * k, rand, std), normal(k * n, rand)];
    const [bias, start] = [normal(n, rand, std), normal(m * n, rand, std)];
    const args = {
      a: upload(r, a, transA ? [k, m] : [m, k]),
      b: upload(r, b, transB ? [n, k] : [k, n]),
      bias: upload(r, bias),
      accumulate: true,
      transA,
      transB,
    };
    const run = (tile: F16Tile) => {
      const full = { ...args, out: upload(r, start, [m, n]) };
      f16Matmul(r, full, matmulProblem(full), { tile, emulated: true });
      return download(r, full.out);
    };
    const got = await run(f16Tiles[4]!);
    const before = start.map((x, i) => x + bias[i % n]!);
    const want = matmulReference(a, b, Float64Array.from(before), m, n, k, transA, transB);
    expectClose(got, want, 1e-3, std * 3e-3 * Math.sqrt(k));
    expect(await run(f16Tiles[5]!)).toEqual(got);
    // Sums that start from another tensor, in whole tiles and on edges (n is 72: a multiple of 4).
    if (transA || !transB) return;
    const wide = upload(r, normal(72 * k, rand), [72, k]);
    const x = normal(m * 72, rand, std);
    const out = upload(r, x, [m, 72]);
    const other = upload(r, new Float32Array(m * 72).fill(NaN), [m, 72]);
    const common = { a: args.a, b: wide, transA: false, transB };
    const plan = { tile: f16Tiles[5]!, emulated: true };
    const inPlace = { ...common, out, accumulate: true };
    const apart = { ...common, out: other, addend: upload(r, x, [m, 72]) };
    f16Matmul(r, inPlace, matmulProblem(inPlace), plan);
    f16Matmul(r, apart, matmulProblem(apart), plan);
    expect(await download(r, other)).toEqual(await download(r, out));
  });
});
