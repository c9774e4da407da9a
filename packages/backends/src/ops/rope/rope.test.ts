import { expect, test } from 'vitest';

import { download, upload } from '../../testing/device-data.js';
import { expectClose, expectDirectional, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { rope } from './rope.js';
import { ropeReference } from './rope.reference.js';

/** cos ‖ sin of [positions, rotaryDim]. */
function table(positions: number, rotaryDim: number): Float32Array {
  const half = rotaryDim / 2;
  return Float32Array.from({ length: positions * rotaryDim }, (_, i) => {
    const [position, c] = [Math.floor(i / rotaryDim), i % rotaryDim];
    const angle = position * 10000 ** (-(c % half) / half);
    return c < half ? Math.cos(angle) : Math.sin(angle);
  });
}

test('the inverse rotation is the gradient', () => {
  const rand = random(1);
  const [x, d] = [normal(2 * 3 * 8, rand), normal(2 * 3 * 8, rand)];
  const cosSin = table(9, 6);
  const positions = [3, 8];
  expectDirectional(
    ([v]) => ropeReference(v!, 3, 8, 6, positions, cosSin).reduce((s, a, i) => s + a * d[i]!, 0),
    [x],
    [ropeReference(d, 3, 8, 6, positions, cosSin, true)],
    rand,
  );
});

onAdapters((r) => {
  const cases = [
    [1, 1, 2, 2],
    [7, 3, 10, 10],
    [29, 5, 16, 4],
    [13, 6, 24, 16],
  ] as const;
  test.each(cases)(
    '%i rows, %i heads of %i, %i rotated',
    async (rows, nHeads, headDim, rotaryDim) => {
      const rand = random(rows);
      const width = nHeads * headDim;
      const x = normal(rows * width, rand);
      const positions = Uint32Array.from({ length: rows }, () => Math.floor(rand() * 40));
      const cosSin = table(40, rotaryDim);
      // The heads lie in the middle of wider rows (a fused qkv), the positions in a decode state. Quads need aligned rows.
      const [offset, stride] = rotaryDim % 8 === 0 ? [4, width + 8] : [5, width + 9];
      const wide = normal(offset + rows * stride, rand);
      for (let i = 0; i < rows; i++)
        wide.set(x.subarray(i * width, (i + 1) * width), offset + i * stride);
      const state = new Uint32Array(4 * rows).fill(999);
      positions.forEach((p, i) => (state[4 * i + 2] = p));
      const t = upload(r(), wide);
      const args = {
        x: { tensor: t, offset, stride },
        rows,
        nHeads,
        headDim,
        rotaryDim,
        positions: upload(r(), state, [rows, 4], 'u32'),
        positionStride: 4,
        positionOffset: 2,
        cosSin: upload(r(), cosSin, [40, rotaryDim]),
      };
      rope(r(), args);
      const want = Float64Array.from(wide);
      const rotated = ropeReference(x, nHeads, headDim, rotaryDim, positions, cosSin);
      for (let i = 0; i < rows; i++)
        want.set(rotated.subarray(i * width, (i + 1) * width), offset + i * stride);
      expectClose(await download(r(), t), want, 1e-6, 1e-6);
      rope(r(), { ...args, inverse: true });
      expectClose(await download(r(), t), wide, 2e-6, 2e-6);
    },
  );

  test('what exceeds its tensors is refused', () => {
    const t = upload(r(), new Float32Array(16));
    const cosSin = upload(r(), table(4, 4), [4, 4]);
    const positions = upload(r(), new Uint32Array(2), [2], 'u32');
    const x = { tensor: t, offset: 0, stride: 8 };
    const args = { x, rows: 3, nHeads: 2, headDim: 4, rotaryDim: 4, positions, cosSin };
    expect(() => {
      rope(r(), args);
    }).toThrow(/exceeds x/);
    expect(() => {
      rope(r(), { ...args, rotaryDim: 3 });
    }).toThrow(/even rotaryDim/);
  });
});
