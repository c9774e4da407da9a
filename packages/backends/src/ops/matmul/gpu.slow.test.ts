/** The GPU kernel with every tile, run on software adapters, which compile it for seconds: see gpu.test.ts for a quick look. */
import { expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { gpuMatmul, gpuSplits, gpuTiles } from './gpu.js';
import { matmulReference } from './matmul.reference.js';
import { naiveMatmul } from './naive.js';
import { matmulProblem } from './problem.js';

onAdapters((r, name) => {
  // lavapipe compiles the kernel of the largest tile for half a minute.
  const tiles = name === 'lavapipe' ? gpuTiles.slice(1) : gpuTiles;
  const layouts = [
    [false, true],
    [false, false],
    [true, false],
    [true, true],
  ] as const;
  const sizes = [
    [1, 1, 1, 4],
    [3, 200, 50, 4],
    [17, 20, 33, 4],
    [70, 68, 36, 3],
  ] as const;
  const cases = layouts.flatMap((l) => sizes.map((s) => [...l, ...s] as const));

  const operands = (transA: boolean, transB: boolean, m: number, n: number, k: number) => {
    const rand = random(m * n + k);
    const [a, b] = [normal(m * k, rand), normal(k * n, rand)];
    const [bias, start] = [normal(n, rand), normal(m * n, rand)];
    const args = {
      a: upload(r(), a, transA ? [k, m] : [m, k]),
      b: upload(r(), b, transB ? [n, k] : [k, n]),
      transA,
      transB,
    };
    return { a, b, bias, start, args };
  };

  test.each(cases)('transA %s, transB %s, %i %i %i, tile %i', async (...c) => {
    const [transA, transB, m, n, k, tile] = c;
    const { bias, start, args } = operands(transA, transB, m, n, k);
    const tBias = upload(r(), bias);
    const [got, want] = [poisoned(r(), [m, n]), poisoned(r(), [m, n])];
    const plain = { ...args, out: got };
    gpuMatmul(r(), plain, matmulProblem(plain), gpuTiles[tile]);
    naiveMatmul(r(), { ...args, out: want });
    expect(await download(r(), got)).toEqual(await download(r(), want));
    const [sum, wantSum] = [upload(r(), start, [m, n]), upload(r(), start, [m, n])];
    const more = { ...args, out: sum, bias: tBias, accumulate: true };
    gpuMatmul(r(), more, matmulProblem(more), gpuTiles[tile]);
    naiveMatmul(r(), { ...more, out: wantSum });
    expect(await download(r(), sum)).toEqual(await download(r(), wantSum));
  });

  test.each(tiles.map((t) => [t.rows * t.ty, 8 * t.tx, t] as const))(
    'tile %i × %i',
    async (rows, columns, tile) => {
      const [m, n, k] = [rows + 4, columns + 8, 20];
      const { args } = operands(false, true, m, n, k);
      const [got, want] = [poisoned(r(), [m, n]), poisoned(r(), [m, n])];
      gpuMatmul(r(), { ...args, out: got }, matmulProblem({ ...args, out: got }), tile);
      naiveMatmul(r(), { ...args, out: want });
      expect(await download(r(), got)).toEqual(await download(r(), want));
    },
  );

  const ofLargest = [
    [false, false, 132, 136, 20],
    [true, false, 132, 136, 36],
    [true, true, 7, 130, 33],
    [false, true, 131, 5, 50],
  ] as const;
  test.each(tiles === gpuTiles ? ofLargest : [])(
    'largest tile: transA %s, transB %s, %i %i %i',
    async (transA, transB, m, n, k) => {
      const { start, args } = operands(transA, transB, m, n, k);
      const more = { ...args, accumulate: true };
      const [got, want] = [upload(r(), start, [m, n]), upload(r(), start, [m, n])];
      gpuMatmul(r(), { ...more, out: got }, matmulProblem({ ...args, out: got }), gpuTiles[0]);
      naiveMatmul(r(), { ...more, out: want });
      const values = await download(r(), got);
      expect(values).toEqual(await download(r(), want));
    },
  );

  test('a weight gradient over many tokens is split, in a fixed order', async () => {
    const [m, n, k] = [12, 20, 1030];
    const { a, b, start, args } = operands(true, false, m, n, k);
    const run = async () => {
      const full = { ...args, out: upload(r(), start, [m, n]), accumulate: true };
      const p = matmulProblem(full);
      expect(gpuSplits(full, p, gpuTiles[3]!)).toBe(4);
      gpuMatmul(r(), full, p, gpuTiles[3]);
      return download(r(), full.out);
    };
    const want = matmulReference(a, b, Float64Array.from(start), m, n, k, true);
    const got = await run();
    expectClose(got, want, 1e-5, 1e-4);
    expect(await run()).toEqual(got);
  });
});
