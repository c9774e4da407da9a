import { expect, test } from 'vitest';

import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { adam } from './adam.js';
import { adamReference } from './optimizer.reference.js';
import { clipFactor, sumSquares } from './sum-squares.js';

onAdapters((r) => {
  const up = (data: Float32Array) => {
    const t = r().alloc([data.length]);
    r().write(t, data);
    return t;
  };
  const down = async (t: ReturnType<typeof up>) => new Float32Array(await r().read(t));
  const rand = random(9);

  test.each(['invocation', 'workgroup'] as const)(
    'sum of squares of any length by %s, in its slot only, bit-equal on a rerun',
    async (form) => {
      for (const n of [1, 3, 1023, 1024, 1025, 70001, 1_100_001]) {
        const x = normal(n, rand);
        const out = up(Float32Array.of(7, NaN, NaN, 9));
        const t = up(x);
        sumSquares(r(), t, out, 1, form);
        sumSquares(r(), t, out, 2, form);
        const got = await down(out);
        expectClose([got[1]!], [x.reduce((a, b) => a + b * b, 0)], 2e-6);
        expect([got[0], got[2], got[3]]).toEqual([7, got[1], 9]);
      }
      expect(() => {
        sumSquares(r(), r().alloc([4]), r().alloc([1]), 1);
      }).toThrow(/slot 1/);
    },
  );

  test('clip factor', async () => {
    const [factor, norm] = [up(Float32Array.of(NaN)), up(Float32Array.of(NaN))];
    const squares = up(Float32Array.of(9, 16, 1000));
    clipFactor(r(), { squares, count: 2, maxNorm: 1, factor, norm });
    expectClose(await down(factor), [1 / (5 + 1e-6)]);
    expectClose(await down(norm), [5]);
    clipFactor(r(), { squares, count: 2, maxNorm: 7, factor, norm });
    expectClose(await down(factor), [1]);
  });

  test('five AdamW steps on a range, the rest untouched', async () => {
    const n = 1021;
    const [begin, end] = [3, 998];
    const p0 = normal(n, rand);
    const [param, m, v] = [up(p0), up(new Float32Array(n)), up(new Float32Array(n))];
    const gradScale = up(Float32Array.of(0.5));
    const s = {
      param: Float64Array.from(p0),
      m: new Float64Array(n),
      v: new Float64Array(n),
    };
    const o = { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-5, weightDecay: 0.05 };
    for (let step = 1; step <= 5; step++) {
      const grad = normal(n, rand).fill(0, 500, 510);
      adam(r(), { param, grad: up(grad), m, v, begin, end, gradScale, step, ...o });
      adamReference(s, grad, { ...o, step, gradScale: 0.5 });
    }
    const got = await down(param);
    expectClose(got.subarray(begin, end), s.param.subarray(begin, end), 2e-6, 1e-6);
    expectClose((await down(m)).subarray(begin, end), s.m.subarray(begin, end), 1e-5, 1e-7);
    expectClose((await down(v)).subarray(begin, end), s.v.subarray(begin, end), 1e-5, 1e-7);
    expect(got.subarray(0, begin)).toEqual(p0.subarray(0, begin));
    expect(got.subarray(end)).toEqual(p0.subarray(end));
    expect(() => {
      adam(r(), { param, grad: param, m, v, begin: 0, end: n + 1, gradScale, step: 1, ...o });
    }).toThrow(/adam on/);
  });
});
