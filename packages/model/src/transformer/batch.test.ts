import fc from 'fast-check';
import { expect, it } from 'vitest';
import { causalRanges } from './batch.js';
import { headIndex } from './head-norms.js';

const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });
const cumulative = (ls: readonly number[]) =>
  Int32Array.from([0, ...ls.map((_, i) => ls.slice(0, i + 1).reduce((a, b) => a + b))]);

it('key and query ranges say the same pairs: causal, in one sequence, within the window', () => {
  fc.assert(
    fc.property(lengths, fc.option(fc.integer({ min: 1, max: 12 })), (ls, window) => {
      const cu = cumulative(ls);
      const { kvRange, qRange } = causalRanges(cu, window ?? undefined);
      const t = cu.at(-1)!;
      const sequence = (i: number) => cu.findLastIndex((b) => b <= i);
      for (let q = 0; q < t; q++)
        for (let k = 0; k < t; k++) {
          const want = sequence(q) === sequence(k) && k <= q && q - k < (window ?? Infinity);
          expect(kvRange[2 * q]! <= k && k < kvRange[2 * q + 1]!).toBe(want);
          expect(qRange[2 * k]! <= q && q < qRange[2 * k + 1]!).toBe(want);
        }
    }),
  );
});

it('heads are rows of the projection', () => {
  expect([...headIndex(2, 4, 2, 8)]).toEqual([4, 5, 12, 13]);
});
