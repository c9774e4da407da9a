/** Shares against the bound by cuts: over all sets of ranks, what only they can serve, divided by their number. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { balance } from './realloc-balance.js';

it('reaches the least possible largest load', () => {
  const demand = fc.record({
    size: fc.nat(1000),
    ranks: fc.uniqueArray(fc.nat(5), { minLength: 1, maxLength: 6 }),
  });
  fc.assert(
    fc.property(fc.array(demand, { maxLength: 8 }), (demands) => {
      const shares = balance(demands);
      const loads = new Array<number>(6).fill(0);
      shares.forEach((share, i) => {
        const { size, ranks } = demands[i]!;
        expect([...share.values()].reduce((a, b) => a + b, 0)).toBe(size);
        for (const [rank, n] of share) {
          expect(ranks).toContain(rank);
          expect(n).toBeGreaterThanOrEqual(0);
          loads[rank]! += n;
        }
      });
      let bound = 0;
      for (let set = 1; set < 64; set++) {
        const members = [0, 1, 2, 3, 4, 5].filter((r) => (set >> r) & 1);
        const only = demands
          .filter((d) => d.ranks.every((r) => members.includes(r)))
          .reduce((n, d) => n + d.size, 0);
        bound = Math.max(bound, Math.ceil(only / members.length));
      }
      expect(Math.max(...loads)).toBe(bound);
    }),
    { numRuns: 100 },
  );
});
