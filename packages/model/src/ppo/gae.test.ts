import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { expectClose, uniform } from '../losses/test-losses.js';
import { gae } from './gae.js';

const unit = fc.double({ min: 0, max: 1, noNaN: true });
const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 });
const cuOf = (lens: readonly number[]) =>
  lens.reduce((cu, l) => [...cu, cu[cu.length - 1]! + l], [0]);

/** A_t = Σ_{k ≥ t} (γλ)^{k−t} (r_k + γ V_{k+1} − V_k), V after the last reward 0 unless the sequence was cut. */
function naive(
  r: readonly number[],
  v: readonly number[],
  cut: boolean,
  gamma: number,
  lambda: number,
) {
  const next = (k: number) => (k + 1 < r.length || cut ? v[k + 1]! : 0);
  return r.map((_, t) => {
    let a = 0;
    for (let k = t; k < r.length; k++)
      a += Math.pow(gamma * lambda, k - t) * (r[k]! + gamma * next(k) - v[k]!);
    return a;
  });
}

describe('gae', () => {
  it('is the discounted sum of residuals of every sequence', () => {
    fc.assert(
      fc.property(lengths, unit, unit, fc.nat(), (lens, gamma, lambda, seed) => {
        const u = uniform(seed);
        const rewards = lens.map((l) => Array.from({ length: l - 1 }, () => 2 * u() - 1));
        const values = lens.map((l) => Array.from({ length: l }, () => 2 * u() - 1));
        const bootstrap = lens.map(() => u() < 0.5);
        const got = gae({
          rewards: rewards.flat(),
          values: values.flat(),
          cuSeqlens: cuOf(lens),
          bootstrap,
          gamma,
          lambda,
        });
        const want = lens.map((_, s) =>
          naive(rewards[s]!, values[s]!, bootstrap[s]!, gamma, lambda),
        );
        expectClose(got.advantages, want.flat(), 1e-10, 1e-12);
        const returns = want.map((a, s) => a.map((x, t) => x + values[s]![t]!));
        expectClose(got.returns, returns.flat(), 1e-10, 1e-12);
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it('defect 25: leaves its inputs as they were', () => {
    const input = {
      rewards: Float32Array.of(1, 2),
      values: Float32Array.of(3, 4, 5),
      cuSeqlens: Int32Array.of(0, 3),
      bootstrap: Uint8Array.of(1),
      gamma: 0.9,
      lambda: 0.8,
    };
    const before = structuredClone(input);
    gae(input);
    expect(input).toEqual(before);
  });

  it('with γ = λ = 1 gives the reward to go minus the value', () => {
    const base = {
      rewards: [0, 1, 2],
      values: [10, 20, 30, 40],
      cuSeqlens: [0, 4],
      gamma: 1,
      lambda: 1,
    };
    expect([...gae({ ...base, bootstrap: [0] }).returns]).toEqual([3, 3, 2]);
    expect([...gae({ ...base, bootstrap: [1] }).returns]).toEqual([43, 43, 42]);
  });
});
