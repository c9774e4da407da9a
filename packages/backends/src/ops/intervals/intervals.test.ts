import { expect, test } from 'vitest';

import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { gatherIntervals, scatterIntervals } from './intervals.js';

onAdapters((r) => {
  const up = (data: Float32Array | Uint32Array) => {
    const t = r().alloc([data.length], data instanceof Uint32Array ? 'u32' : 'f32');
    r().write(t, data);
    return t;
  };
  const down = async (t: ReturnType<typeof up>) => new Float32Array(await r().read(t));

  /** Intervals of wildly different lengths, with gaps, source order reversed. */
  function plan(rand: () => number, count: number) {
    const lengths = Array.from({ length: count }, (_, i) =>
      i % 7 === 3 ? 0 : i % 5 === 0 ? 1000 + Math.floor(rand() * 3000) : 1 + Math.floor(rand() * 9),
    );
    const total = lengths.reduce((a, b) => a + b, 0);
    const intervals: number[] = [];
    let dst = 2;
    let src = total + count;
    for (const n of lengths) {
      src -= n + 1;
      intervals.push(src, dst, n);
      dst += n + 1;
    }
    return { intervals: Uint32Array.from(intervals), size: total + count + 2 };
  }

  test('gather and scatter', async () => {
    const rand = random(11);
    for (const count of [1, 2, 53, 700]) {
      const { intervals, size } = plan(rand, count);
      const src = normal(size, rand);
      const before = normal(size, rand);
      for (const eta of [undefined, 1, 0.25]) {
        const dst = up(before);
        if (eta === undefined) gatherIntervals(r(), up(src), up(intervals), dst);
        else scatterIntervals(r(), up(src), up(intervals), dst, eta);
        const want = Float64Array.from(before);
        for (let n = 0; n < intervals.length; n += 3)
          for (let i = 0; i < intervals[n + 2]!; i++) {
            const at = intervals[n + 1]! + i;
            const x = src[intervals[n]! + i]!;
            want[at] = (eta ?? 1) * x + (1 - (eta ?? 1)) * want[at]!;
          }
        const got = await down(dst);
        if (eta === 0.25) expectClose(got, want);
        else expect(got).toEqual(Float32Array.from(want));
      }
    }
    expect(() => {
      gatherIntervals(r(), r().alloc([4]), r().alloc([4], 'u32'), r().alloc([4]));
    }).toThrow(/is not \[n, 3\]/);
  });
});
