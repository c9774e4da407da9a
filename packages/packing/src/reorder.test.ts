/** The heap gives what the plain rule gives, item by item. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DataError } from '@realhf/api';
import { reorderToBalancedBatches } from './reorder.js';

function plainRule(sizes: readonly number[], perBatch: number) {
  const bins = Array.from({ length: Math.ceil(sizes.length / perBatch) }, () => ({
    items: [] as number[],
    total: 0,
  }));
  const order = sizes.map((_, i) => i).sort((a, b) => sizes[b]! - sizes[a]! || a - b);
  for (const item of order) {
    const open = bins.filter((b) => b.items.length < perBatch);
    const least = Math.min(...open.map((b) => b.total));
    const bin = open.find((b) => b.total === least)!;
    bin.items.push(item);
    bin.total += sizes[item]!;
  }
  bins.sort((a, b) => b.total - a.total);
  return {
    indices: bins.flatMap((b) => b.items),
    maxDiff: bins.length === 0 ? 0 : bins[0]!.total - bins.at(-1)!.total,
  };
}

it('agrees with the plain rule', () => {
  const sizes = fc.oneof(
    fc.array(fc.nat(1000), { maxLength: 60 }),
    fc.array(fc.nat(2), { maxLength: 60 }),
  );
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 12 }), (xs, perBatch) => {
      const got = reorderToBalancedBatches(xs, perBatch);
      const want = plainRule(xs, perBatch);
      expect([...got.indices]).toEqual(want.indices);
      expect(got.maxDiff).toBe(want.maxDiff);
      const batches = Math.ceil(xs.length / perBatch);
      expect(got.offsets).toHaveLength(batches + 1);
      expect(got.offsets[batches]).toBe(xs.length);
    }),
    { numRuns: 500 },
  );
});

it('reorders 100,000 sizes in less than a second', () => {
  let state = 1;
  const xs = Array.from({ length: 100_000 }, () => (state = (state * 48271) % 2147483647) % 4096);
  const start = performance.now();
  const { indices, maxDiff } = reorderToBalancedBatches(xs, 128);
  expect(performance.now() - start).toBeLessThan(1000);
  expect(new Set(indices).size).toBe(100_000);
  expect(maxDiff).toBeLessThan(4096);
});

it('refuses a batch of nothing', () => {
  expect(() => reorderToBalancedBatches([1], 0)).toThrow(DataError);
  expect(reorderToBalancedBatches([], 4)).toMatchObject({ maxDiff: 0 });
});
