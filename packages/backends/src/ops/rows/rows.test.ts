import { expect, test } from 'vitest';

import { normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { gatherRows, scatterRows } from './rows.js';

onAdapters((r) => {
  const up = (data: Float32Array | Uint32Array) => {
    const t = r().alloc([data.length], data instanceof Uint32Array ? 'u32' : 'f32');
    r().write(t, data);
    return t;
  };
  const down = async (t: ReturnType<typeof up>) => new Float32Array(await r().read(t));
  const rand = random(5);

  test('gather', async () => {
    for (const [n, table, dim] of [
      [1, 1, 1],
      [7, 5, 3],
      [301, 17, 64],
    ] as const) {
      const x = normal(table * dim, rand);
      const index = Uint32Array.from({ length: n }, () => Math.floor(rand() * table));
      const out = up(new Float32Array(n * dim).fill(NaN));
      gatherRows(r(), up(x), up(index), out);
      const want = new Float32Array(n * dim).map(
        (_, i) => x[index[Math.floor(i / dim)]! * dim + (i % dim)]!,
      );
      expect(await down(out)).toEqual(want);
    }
    expect(() => {
      gatherRows(r(), r().alloc([4, 4]), r().alloc([3], 'u32'), r().alloc([2, 4]));
    }).toThrow(/gatherRows of 3 rows/);
  });

  test('scatter of a strided view by decode state, indices beyond the table dropped', async () => {
    const [rows, columns, stride, offset] = [5, 3, 11, 4];
    const src = normal(offset + rows * stride, rand);
    // State lines of 4: entry 3 is the row end, so the row is entry − 1; 0 − 1 wraps and is dropped.
    const ends = [3, 1, 9, 0, 100];
    const state = Uint32Array.from(ends.flatMap((e) => [0, 0, 0, e]));
    const before = normal(9 * columns, rand);
    for (const accumulate of [false, true]) {
      const dst = up(before);
      scatterRows(r(), {
        src: { tensor: up(src), offset, stride },
        index: up(state),
        indexStride: 4,
        indexOffset: 3,
        indexBias: -1,
        rows,
        columns,
        dst,
        accumulate,
      });
      const want = before.slice();
      ends.forEach((e, i) => {
        if (e < 1 || e > 9) return;
        for (let c = 0; c < columns; c++) {
          const x = src[offset + i * stride + c]!;
          const at = (e - 1) * columns + c;
          want[at] = accumulate ? want[at]! + x : x;
        }
      });
      expect(await down(dst)).toEqual(want);
    }
    expect(() => {
      scatterRows(r(), {
        src: { tensor: up(src), offset, stride },
        index: up(state),
        rows: 6,
        columns: 3,
        dst: up(before),
      });
    }).toThrow(/exceeds/);
  });
});
