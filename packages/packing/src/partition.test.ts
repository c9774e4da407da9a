/** The partition is proved against brute force over all cuts, and timed on easy and hard lengths. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError } from '@realhf/api';
import { partitionBalanced } from './partition.js';
import type { Part } from './partition.js';

const sums = (sizes: readonly number[], parts: readonly Part[]) =>
  parts.map(([a, b]) => sizes.slice(a, b).reduce((x, y) => x + y, 0));
const spread = (xs: readonly number[]) => Math.max(...xs) - Math.min(...xs);

/** Smallest spread over all partitions; Infinity if none keeps maxSum. */
function bruteForce(sizes: readonly number[], k: number, minSize: number, maxSum = Infinity) {
  let best = Infinity;
  const go = (start: number, left: number, lo: number, hi: number) => {
    if (left === 0) {
      if (start === sizes.length && hi <= maxSum) best = Math.min(best, hi - lo);
      return;
    }
    let sum = 0;
    for (let end = start + 1; end <= sizes.length; end++) {
      sum += sizes[end - 1]!;
      if (end - start >= minSize) go(end, left - 1, Math.min(lo, sum), Math.max(hi, sum));
    }
  };
  go(0, k, Infinity, -Infinity);
  return best;
}

function check(sizes: readonly number[], k: number, minSize: number): number {
  const parts = partitionBalanced(sizes, k, { minSize });
  expect(parts).toHaveLength(k);
  let at = 0;
  for (const [a, b] of parts) {
    expect(a).toBe(at);
    expect(b - a).toBeGreaterThanOrEqual(minSize);
    at = b;
  }
  expect(at).toBe(sizes.length);
  return spread(sums(sizes, parts));
}

/** Lengths of every kind: small, with ties and zeros, heavy-tailed, one giant, all equal. */
const sizesArb = fc.oneof(
  fc.array(fc.nat(100), { minLength: 1, maxLength: 12 }),
  fc.array(fc.nat(3), { minLength: 1, maxLength: 12 }),
  fc.array(fc.oneof(fc.constant(0), fc.nat(50)), { minLength: 1, maxLength: 12 }),
  fc.array(
    fc.double({ min: 0, max: 12, noNaN: true }).map((x) => Math.floor(Math.exp(x))),
    {
      minLength: 1,
      maxLength: 12,
    },
  ),
  fc
    .tuple(fc.array(fc.nat(20), { minLength: 1, maxLength: 11 }), fc.nat(10), fc.nat(10_000))
    .map(([xs, at, giant]) => xs.toSpliced(at, 0, giant)),
  fc.tuple(fc.nat(9), fc.integer({ min: 1, max: 12 })).map(([x, n]) => Array<number>(n).fill(x)),
);
const caseArb = sizesArb.chain((sizes) =>
  fc
    .integer({ min: 1, max: Math.min(3, sizes.length) })
    .chain((minSize) =>
      fc
        .integer({ min: 1, max: Math.floor(sizes.length / minSize) })
        .map((k) => ({ sizes, k, minSize })),
    ),
);

describe('partitionBalanced', () => {
  it('is optimal: brute force over all cuts', () => {
    fc.assert(
      fc.property(caseArb, ({ sizes, k, minSize }) => {
        expect(check(sizes, k, minSize)).toBe(bruteForce(sizes, k, minSize));
      }),
      { numRuns: 3000 },
    );
  });

  it('is optimal under a bound on part sums', () => {
    fc.assert(
      fc.property(caseArb, fc.double({ min: 0.5, max: 3, noNaN: true }), (c, slack) => {
        const total = c.sizes.reduce((a, b) => a + b, 0);
        const maxSum = Math.floor((total / c.k) * slack);
        const want = bruteForce(c.sizes, c.k, c.minSize, maxSum);
        const make = () => partitionBalanced(c.sizes, c.k, { minSize: c.minSize, maxSum });
        if (want === Infinity) expect(make).toThrow(DataError);
        else {
          const got = sums(c.sizes, make());
          expect(spread(got)).toBe(want);
          expect(Math.max(...got)).toBeLessThanOrEqual(maxSum);
        }
      }),
      { numRuns: 1500 },
    );
  });

  it('finds what the reference misses', () => {
    expect(check([1, 58, 21, 32, 45, 30, 15, 83, 7], 4, 2)).toBe(37);
  });

  it('gives the same cuts for the same input', () => {
    expect(partitionBalanced([2, 2, 2, 2, 2], 2)).toEqual(partitionBalanced([2, 2, 2, 2, 2], 2));
    expect(partitionBalanced([0, 0, 0], 2)).toEqual([
      [0, 1],
      [1, 3],
    ]);
  });

  it('refuses too few items and what is not a count', () => {
    expect(() => partitionBalanced([1, 2, 3], 2, { minSize: 2 })).toThrow(/3 items.*at most 1/);
    expect(() => partitionBalanced([1, 2], 0)).toThrow(DataError);
    expect(() => partitionBalanced([1, -2], 1)).toThrow(/item 1/);
    expect(() => partitionBalanced([1, 0.5], 1)).toThrow(DataError);
  });
});

describe('2,048 sizes into 32 parts', () => {
  let state = 12345;
  const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
  const make = (f: (i: number) => number) => Array.from({ length: 2048 }, (_, i) => f(i));
  const normal = () => Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(6.2831853 * random());
  const uniform = () => Math.floor(random() * 1024);
  const logNormal = (sigma: number) => Math.floor(Math.exp(6 + sigma * normal()));

  /** Best of three, in ms: the first run also pays for the compiler. */
  function timed(sizes: readonly number[], k = 32): number {
    let best = Infinity;
    for (let run = 0; run < 3; run++) {
      const start = performance.now();
      partitionBalanced(sizes, k);
      best = Math.min(best, performance.now() - start);
    }
    return best;
  }

  it.each([
    ['uniform', make(uniform)],
    ['log-normal', make(() => logNormal(0.8))],
    ['log-normal, wide', make(() => logNormal(1.5))],
  ])('%s: under 100 ms', (_, sizes) => {
    expect(timed(sizes)).toBeLessThan(100);
  });

  it.each([
    ['all equal', make(() => 512)],
    ['all equal but one', make((i) => (i === 700 ? 513 : 512))],
    ['one giant', make((i) => (i === 1000 ? 10_000_000 : uniform()))],
    ['two giants', make((i) => (i === 300 ? 9_000_000 : i === 1500 ? 5_000_000 : uniform()))],
    ['a hundred giants', make(() => (random() < 0.05 ? Math.floor(random() * 1e6) : uniform()))],
    ['many zeros', make(() => (random() < 0.95 ? 0 : uniform()))],
    ['nearly all zeros', make(() => (random() < 0.99 ? 0 : uniform()))],
    ['heavy tail', make(() => Math.floor(1 / (random() + 1e-7)))],
    ['large numbers', make(() => Math.floor(random() * 1e9))],
    ['ascending', make((i) => i)],
    ['steps', make((i) => (i < 1024 ? 1 : 1000))],
  ])('%s: under 2 s', (_, sizes) => {
    expect(timed(sizes)).toBeLessThan(2000);
  });
});
