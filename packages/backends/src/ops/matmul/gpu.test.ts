/** The GPU kernel on software adapters, in few cases because they compile it slowly; gpu.slow.test.ts has the others. */
import { expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { gpuMatmul, gpuTileFor, gpuTiles } from './gpu.js';
import { naiveMatmul } from './naive.js';
import { matmulProblem } from './problem.js';

onAdapters((r, name) => {
  const transposes =
    name === 'lavapipe'
      ? [[false, true]]
      : [
          [false, true],
          [false, false],
          [true, false],
        ];
  test.each(transposes)(
    'bit-equal to the naive kernel: transA %s, transB %s',
    async (transA, transB) => {
      const [m, n, k] = [34, 68, 36];
      const rand = random(1);
      const args = {
        a: upload(r(), normal(m * k, rand), transA ? [k, m] : [m, k]),
        b: upload(r(), normal(n * k, rand), transB ? [n, k] : [k, n]),
        transA: transA,
        transB: transB,
      };
      const [got, want] = [poisoned(r(), [m, n]), poisoned(r(), [m, n])];
      const full = { ...args, out: got };
      gpuMatmul(r(), full, matmulProblem(full), gpuTiles[3]);
      naiveMatmul(r(), { ...args, out: want });
      expect(await download(r(), got)).toEqual(await download(r(), want));
    },
  );
});

test('tiles shrink until they fill the card', () => {
  const p = { transA: false, transB: true, aRow: 0, aCol: 1, bRow: 1, bCol: 0, k: 64 };
  expect(gpuTileFor({ ...p, m: 4096, n: 4096 })).toBe(gpuTiles[0]);
  expect(gpuTileFor({ ...p, m: 64, n: 5632 })).toBe(gpuTiles[3]);
  expect(gpuTileFor({ ...p, m: 1, n: 64 })).toBe(gpuTiles[3]);
});
