/** The f16 kernel with emulated matrices: staging, packing, bounds, scale and epilogue, on software adapters with f16. */
import type { MatmulArgs, Tensor } from '@realhf/api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { openGpu, testAdapters } from '../../node/open-gpu.js';
import { download, upload } from '../../testing/device-data.js';
import { expectClose, normal, random } from '../../testing/numbers.js';
import { Recorder } from '../../webgpu/recorder.js';
import { gatedActivation } from '../activation/activation.js';
import { norm } from '../norm/norm.js';
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
    const got = await run(f16Tiles[5]!);
    const before = start.map((x, i) => x + bias[i % n]!);
    const want = matmulReference(a, b, Float64Array.from(before), m, n, k, transA, transB);
    expectClose(got, want, 1e-3, std * 3e-3 * Math.sqrt(k));
    if (transA !== transB) expect(await run(f16Tiles[4]!)).toEqual(got);
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

  test('norms and gated activations of few rows make the panels that packing makes', async () => {
    const few = new Recorder({ device: r.device, adapter, isCpu: false });
    // As on an adapter with matrices.
    Object.defineProperty(few, 'f16Matmul', { value: true });
    const [rows, dim] = [18, 256];
    const rand = random(5);
    const x = upload(few, normal(rows * dim, rand), [rows, dim]);
    const [normed, gated] = [few.alloc([rows, dim]), few.alloc([rows, dim / 2])];
    const weight = upload(few, normal(dim, rand));
    norm(few, { x, weight, out: normed, stats: few.alloc([rows, 2]), kind: 'rms', eps: 1e-5 });
    gatedActivation(few, 'silu', x, gated);
    for (const made of [normed, gated]) {
      const width = made.shape[1]!;
      const b = upload(few, normal(20 * width, rand), [20, width]);
      const times = (a: Tensor) => {
        const args = { a, b, out: few.alloc([rows, 20]), transB: true };
        f16Matmul(few, args, matmulProblem(args), { tile: f16Tiles[5]!, emulated: true });
        return download(few, args.out);
      };
      const before = few.counts.dispatches;
      const got = await times(made);
      // The product (whole tiles and two edges) and the panels of b.
      expect(few.counts.dispatches - before).toBe(4);
      expect(await times(upload(few, await download(few, made), [rows, width]))).toEqual(got);
    }
  });

  test('panels of a gradient serve both of its products, until it changes', async () => {
    const [rows, inner, outer] = [18, 33, 20];
    const rand = random(3);
    const dy = upload(r, normal(rows * outer, rand), [rows, outer]);
    const x = upload(r, normal(rows * inner, rand), [rows, inner]);
    const w = upload(r, normal(outer * inner, rand), [outer, inner]);
    const dx = upload(r, new Float32Array(rows * inner).fill(NaN), [rows, inner]);
    const plan = { tile: f16Tiles[5]!, emulated: true };
    const of = (args: MatmulArgs) => {
      f16Matmul(r, args, matmulProblem(args), plan);
      return download(r, args.out);
    };
    const weightGradient = () =>
      of({
        a: dy,
        b: x,
        out: upload(r, new Float32Array(outer * inner).fill(NaN), [outer, inner]),
        transA: true,
      });
    const alone = await weightGradient();
    await of({ a: dy, b: w, out: dx });
    const before = r.counts.dispatches;
    expect(await weightGradient()).toEqual(alone);
    // The product and the panels of x.
    expect(r.counts.dispatches - before).toBe(2);
    await of({ a: dy, b: w, out: dx });
    r.write(dy, new Float32Array(rows * outer));
    expect(await weightGradient()).toEqual(new Float32Array(outer * inner));
  });
});
