/** The check of the grouped product against a loop over experts, for the fast and the slow test. */
import { expect } from 'vitest';

import { download, upload } from '../../testing/device-data.js';
import { expectClose, normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { matmulReference } from '../matmul/matmul.reference.js';
import { groupedMatmul } from './grouped.js';

export const kinds = ['forward', 'input', 'weight'] as const;

/** Rows of each expert (none among them), and the two other sizes. */
export const products = [
  [[9, 2, 0, 6, 41], 12, 8],
  [[3, 0, 5], 7, 9],
  [[1], 1, 1],
  [[0, 40, 1, 17], 20, 33],
] as const;

/** Two rows belong to no expert. Also that a rerun is bit-equal. */
export async function checkGrouped(
  r: Recorder,
  kind: (typeof kinds)[number],
  sizes: readonly number[],
  n: number,
  k: number,
  onGpu: boolean,
): Promise<void> {
  const rand = random(n * k);
  const offsets = sizes.reduce<number[]>((o, s) => [...o, o.at(-1)! + s], [0]);
  const rows = offsets.at(-1)! + 2;
  const experts = sizes.length;
  const weight = kind === 'weight';
  const [width, bShape, outShape] =
    kind === 'forward'
      ? ([k, [experts * n, k], [rows, n]] as const)
      : kind === 'input'
        ? ([k, [experts * k, n], [rows, n]] as const)
        : ([n, [rows, k], [experts * n, k]] as const);
  const a = normal(rows * width, rand);
  const b = normal(bShape[0] * bShape[1], rand);
  const start = normal(outShape[0] * outShape[1], rand);
  const run = async () => {
    const out = upload(r, start, outShape);
    const args = {
      kind,
      a: upload(r, a, [rows, width]),
      b: upload(r, b, bShape),
      out,
      offsets: upload(r, Uint32Array.from(offsets), [experts + 1], 'u32'),
    };
    groupedMatmul(r, args, onGpu);
    return download(r, out);
  };
  const want = Float64Array.from(start);
  sizes.forEach((size, e) => {
    const mine = a.subarray(offsets[e]! * width, offsets[e + 1]! * width);
    if (weight) {
      const part = b.subarray(offsets[e]! * k, offsets[e + 1]! * k);
      matmulReference(mine, part, want.subarray(e * n * k, (e + 1) * n * k), n, k, size, true);
      return;
    }
    const part = want.subarray(offsets[e]! * n, offsets[e + 1]! * n).fill(0);
    const w = b.subarray(e * n * k, (e + 1) * n * k);
    matmulReference(mine, w, part, size, n, k, false, kind === 'forward');
  });
  const got = await run();
  expectClose(got, want, 1e-5, 1e-5);
  expect(await run()).toEqual(got);
}
