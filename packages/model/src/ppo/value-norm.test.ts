import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { expectClose } from '../losses/test-losses.js';
import { ValueNorm } from './value-norm.js';

const number = fc.double({ min: -50, max: 50, noNaN: true });
const batch = fc.array(fc.tuple(number, fc.boolean()), { minLength: 1, maxLength: 12 });
const batches = fc.array(batch, { minLength: 1, maxLength: 6 });
type Batch = readonly (readonly [number, boolean])[];

const kept = (b: Batch) => b.filter(([, m]) => m).map(([x]) => x);
const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
const fed = (norm: ValueNorm, all: readonly Batch[]) => {
  for (const b of all)
    norm.update(
      b.map(([x]) => x),
      Uint8Array.from(b, ([, m]) => (m ? 1 : 0)),
    );
  return norm;
};

/** Weight of batch i of n is (1 − β) βⁿ⁻¹⁻ⁱ; debiased by their sum. */
function exponential(all: readonly Batch[], beta: number, eps: number) {
  const seen = all.map(kept).filter((xs) => xs.length > 0);
  const w = seen.map((_, i) => (1 - beta) * Math.pow(beta, seen.length - 1 - i));
  const total = Math.max(
    w.reduce((a, b) => a + b, 0),
    eps,
  );
  const mu = seen.reduce((a, xs, i) => a + w[i]! * mean(xs), 0) / total;
  const sq = seen.reduce((a, xs, i) => a + w[i]! * mean(xs.map((x) => x * x)), 0) / total;
  return { mean: mu, std: Math.sqrt(Math.max(sq - mu * mu, 0.01)) };
}

describe('ValueNorm', () => {
  it('exp: a debiased exponential average of batch means', () => {
    const beta = fc.constantFrom(0.5, 0.9, 0.99995);
    fc.assert(
      fc.property(batches, beta, (all, b) => {
        fc.pre(all.some((x) => kept(x).length > 0));
        const got = fed(new ValueNorm({ type: 'exp', beta: b, eps: 1e-5 }), all).stats();
        const want = exponential(all, b, 1e-5);
        expectClose([got.mean, got.std], [want.mean, want.std], 1e-6, 1e-6);
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  it('ma: mean and deviation of everything seen', () => {
    fc.assert(
      fc.property(batches, (all) => {
        const xs = all.flatMap(kept);
        fc.pre(xs.length > 0);
        const got = fed(new ValueNorm({ type: 'ma', beta: 0.5, eps: 1e-5 }), all).stats();
        const variance = mean(xs.map((x) => x * x)) - mean(xs) ** 2;
        expectClose(
          [got.mean, got.std],
          [mean(xs), Math.sqrt(Math.max(variance, 0.01))],
          1e-6,
          1e-6,
        );
      }),
      { seed: 2, numRuns: 200 },
    );
  });

  it('normalises to ±5 and back; before the first update it changes nothing', () => {
    const norm = new ValueNorm({ type: 'ma', beta: 0, eps: 1e-5 });
    expect([...norm.denormalize([3, -2])]).toEqual([3, -2]);
    norm.update([7, 1e9, 13], Uint8Array.of(1, 0, 1));
    expect(norm.stats()).toEqual({ mean: 10, std: 3 });
    expect([...norm.normalize([10, 13, 100, -100])]).toEqual([0, 1, 5, -5]);
    expect([...norm.denormalize([0, 1, -2])]).toEqual([10, 13, 4]);
  });

  it('has a deviation of at least 0.1', () => {
    const norm = new ValueNorm({ type: 'exp', beta: 0.5, eps: 1e-5 });
    norm.update([2, 2], Uint8Array.of(1, 1));
    expectClose([norm.stats().mean, norm.stats().std], [2, 0.1]);
  });
});
