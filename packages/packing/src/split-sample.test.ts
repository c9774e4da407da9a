/** Splits are contiguous views that gather back, balanced by the right key, within the budget. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError, SequenceSample } from '@realhf/api';
import {
  itemSizes,
  longestKey,
  microbatches,
  specOfSizes,
  splitSample,
  splitSpec,
  splitWithSpec,
} from './split-sample.js';
import { countParts, tokenBudgetParts } from './token-budget.js';

function sampleOf(lengths: readonly (readonly number[])[]): SequenceSample {
  const total = lengths.flat().reduce((a, b) => a + b, 0);
  return new SequenceSample({
    ids: lengths.map((_, i) => `id${i}`),
    seqlens: { rewards: lengths.map(() => [1]), tokens: lengths },
    data: {
      rewards: Float32Array.from(lengths, (_, i) => i),
      tokens: Int32Array.from({ length: total }, (_, i) => i),
    },
    dtypes: { rewards: 'f32', tokens: 'i32' },
    trailingShapes: { rewards: [], tokens: [] },
  });
}
const lengthsArb = fc.array(
  fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
  {
    minLength: 1,
    maxLength: 20,
  },
);
const totalOf = (s: SequenceSample) => itemSizes(s, 'tokens').reduce((a, b) => a + b, 0);

describe('splitSample', () => {
  it('gathers back and shares memory', () => {
    fc.assert(
      fc.property(lengthsArb, fc.nat(100), (lengths, pick) => {
        const sample = sampleOf(lengths);
        const k = 1 + (pick % sample.bs);
        const parts = splitSample(sample, k);
        expect(parts).toHaveLength(k);
        for (const p of parts) expect(p.i32('tokens').buffer).toBe(sample.i32('tokens').buffer);
        expect(SequenceSample.gather(parts)).toEqual(sample);
      }),
    );
  });

  it('balances the longest key unless told otherwise', () => {
    const sample = sampleOf([[10], [1], [1], [1], [1], [6]]);
    expect(longestKey(sample)).toBe('tokens');
    expect(splitSample(sample, 2).map((s) => s.bs)).toEqual([1, 5]);
    expect(splitSample(sample, 2, { key: 'rewards' }).map((s) => s.bs)).toEqual([3, 3]);
    expect(splitSample(sample, 2, { minSize: 2 }).map((s) => s.bs)).toEqual([2, 4]);
    expect(() => splitSample(sample, 2, { key: 'nope' })).toThrow(/'nope'/);
    expect(() => splitSample(sample, 2, { minSize: 4 })).toThrow(DataError);
  });

  it('splits metadata-only samples alike', () => {
    const sample = sampleOf([[3], [4], [5], [6]]);
    expect(splitSpec(sample.meta(), 3)).toEqual(splitSpec(sample, 3));
    expect(splitSample(sample.meta(), 2).map((s) => s.data)).toEqual([null, null]);
  });

  it('refuses specs with gaps, overlaps, empty parts and the wrong end', () => {
    const sample = sampleOf([[1], [1], [1]]);
    expect(splitWithSpec(sample, specOfSizes([1, 2])).map((s) => s.bs)).toEqual([1, 2]);
    for (const partitions of [
      [[1, 3]],
      [
        [0, 1],
        [2, 3],
      ],
      [
        [0, 2],
        [1, 3],
      ],
      [
        [0, 0],
        [0, 3],
      ],
      [[0, 2]],
      [[0, 4]],
    ] as const)
      expect(() => splitWithSpec(sample, { partitions })).toThrow(DataError);
  });
});

describe('microbatches', () => {
  it('keeps the budget, the order and the number', () => {
    fc.assert(
      fc.property(
        lengthsArb,
        fc.integer({ min: 1, max: 25 }),
        fc.integer({ min: 1, max: 200 }),
        (lengths, nMbs, maxTokens) => {
          const sample = sampleOf(lengths);
          const mbs = microbatches(sample, { nMbs, maxTokens, key: 'tokens' });
          expect(mbs.length).toBeGreaterThanOrEqual(Math.min(nMbs, sample.bs));
          expect(mbs.length).toBeLessThanOrEqual(sample.bs);
          for (const mb of mbs) if (mb.bs > 1) expect(totalOf(mb)).toBeLessThanOrEqual(maxTokens);
          expect(mbs.flatMap((mb) => mb.ids)).toEqual(sample.ids);
        },
      ),
    );
  });

  it('makes no more than needed', () => {
    const sample = sampleOf([[4], [4], [4], [4]]);
    expect(microbatches(sample)).toHaveLength(1);
    expect(microbatches(sample, { maxTokens: 8 }).map((s) => s.bs)).toEqual([2, 2]);
    expect(microbatches(sample, { maxTokens: 3 })).toHaveLength(4);
    expect(microbatches(sample, { nMbs: 9 })).toHaveLength(4);
  });

  it('an item above the budget stays alone', () => {
    expect(tokenBudgetParts([2, 100, 2, 2], { maxTokens: 10 })).toEqual([
      [0, 1],
      [1, 2],
      [2, 4],
    ]);
    expect(tokenBudgetParts([], { maxTokens: 10 })).toEqual([]);
    expect(countParts([5, 5, 5], { maxTokens: 10, nMbs: 3 })).toBe(3);
    expect(() => countParts([1], { maxTokens: 0 })).toThrow(DataError);
    expect(() => countParts([1], { nMbs: 1.5 })).toThrow(DataError);
  });
});
