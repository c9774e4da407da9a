import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { allKept, encodeKept, joinKept, keptBits, keptCount, keptOffsets } from './kept-sets.js';

const wordsOf = (kept: readonly boolean[]) => {
  const words = new Uint32Array(Math.ceil(kept.length / 32));
  kept.forEach((k, i) => {
    if (k) words[i >> 5]! |= 1 << (i & 31);
  });
  return words;
};

describe('kept sets', () => {
  test('come back as they were, in whole and in pieces of the vocabulary', () => {
    const line = (vocab: number) =>
      fc
        .record({
          share: fc.constantFrom(0, 0.01, 0.1, 0.5, 0.9, 0.99, 1),
          noise: fc.array(fc.double({ min: 0, max: 0.9999, noNaN: true }), {
            minLength: vocab,
            maxLength: vocab,
          }),
        })
        .map(({ share, noise }) => noise.map((x) => x < share));
    const cases = fc.integer({ min: 1, max: 300 }).chain((vocab) =>
      fc.record({
        vocab: fc.constant(vocab),
        lines: fc.array(line(vocab), { minLength: 1, maxLength: 5 }),
        cut: fc.tuple(fc.nat(vocab), fc.nat(vocab + 40)),
      }),
    );
    fc.assert(
      fc.property(cases, ({ vocab, lines, cut }) => {
        const bytes = joinKept(lines.map((l) => encodeKept(wordsOf(l), vocab)));
        const offsets = keptOffsets(bytes, lines.length, vocab);
        const begin = Math.min(...cut);
        const end = Math.max(...cut, begin + 1);
        lines.forEach((l, i) => {
          expect(keptCount(bytes, offsets[i]!, vocab)).toBe(l.filter(Boolean).length);
          const whole = new Uint32Array(Math.ceil(vocab / 32) + 2).fill(7);
          keptBits(bytes, offsets[i]!, { begin: 0, end: vocab, vocab }, whole, 1);
          expect([...whole]).toEqual([7, ...wordsOf(l), 7]);
          const piece = new Uint32Array(Math.ceil((end - begin) / 32));
          keptBits(bytes, offsets[i]!, { begin, end, vocab }, piece, 0);
          const want = Array.from({ length: end - begin }, (_, j) => l[begin + j] ?? false);
          expect([...piece]).toEqual([...wordsOf(want)]);
        });
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  test('take an eighth of a bitmask, or less, for 200 tokens of 32,000', () => {
    const vocab = 32_000;
    const bitmask = vocab / 8;
    const spread = wordsOf(Array.from({ length: vocab }, (_, i) => i % 160 === 77));
    let u = 1;
    const drawn = new Array<boolean>(vocab).fill(false);
    for (let n = 0; n < 200;) {
      u = (Math.imul(u, 1664525) + 1013904223) >>> 0;
      const id = u % vocab;
      if (!drawn[id]) n++;
      drawn[id] = true;
    }
    expect(encodeKept(spread, vocab).length).toBeLessThanOrEqual(bitmask / 8);
    expect(encodeKept(wordsOf(drawn), vocab).length).toBeLessThanOrEqual(bitmask / 8);
    // Only EOS is gone: a few bytes. Nothing is gone: one.
    expect(encodeKept(wordsOf(drawn.map((_, i) => i !== 2)), vocab).length).toBe(2);
    expect(encodeKept(wordsOf(drawn.map(() => true)), vocab)).toEqual(allKept);
    // Never longer than a bitmask and a byte.
    expect(encodeKept(wordsOf(drawn.map((_, i) => i % 2 === 0)), vocab).length).toBe(bitmask + 1);
  });

  test('of the wrong number of tokens are refused', () => {
    const bytes = Uint8Array.of(0, 0, 5);
    expect(() => keptOffsets(bytes, 3, 40)).toThrow('end within a record');
    expect(() => keptOffsets(bytes.subarray(0, 2), 1, 40)).toThrow(/have 2 bytes/);
  });
});
