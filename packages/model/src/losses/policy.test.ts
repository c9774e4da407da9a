import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { klEstimators, klTerm } from './kl.js';
import { lossAveragings, policyLoss, ratioLevels, type PolicyLossOptions } from './policy.js';
import { compute, expectClose, expectGradient, expectMicrobatchInvariant } from './test-losses.js';
import { naivePolicy, newLogProbs, randomItems, sampleOf } from './test-policy.js';

const base = {
  name: 'mine',
  epsClip: 0.2,
  averaging: 'token',
  klCtl: 0,
  temperature: 1,
  logitsMask: false,
  earlyStopImpRatio: null,
  earlyStopKl: null,
} as const satisfies PolicyLossOptions;

/** Every combination of the options. */
const options: fc.Arbitrary<PolicyLossOptions> = fc
  .record({
    objective: fc.constantFrom('clip', 'clip', 'clip', 'reinforce'),
    epsClipHigher: fc.constantFrom(null, 0.28),
    cClip: fc.constantFrom(null, 1.3),
    ratioLevel: fc.constantFrom(...ratioLevels),
    averaging: fc.constantFrom(...lossAveragings),
    lossNorm: fc.constantFrom(1, 7),
    klCtl: fc.constantFrom(0, 0.3),
    klEstimator: fc.constantFrom(...klEstimators),
    entropyCoeff: fc.constantFrom(0, 0.2),
  })
  .map((o) => ({ ...base, ...o }));
const batches = fc.record({ n: fc.integer({ min: 2, max: 4 }), seed: fc.nat(1e6) });

describe('policy loss', () => {
  it('is what the papers say under every combination of options, with its gradients', () => {
    fc.assert(
      fc.property(options, batches, (o, { n, seed }) => {
        const items = randomItems(n, seed);
        const sample = sampleOf(items);
        fc.pre(sample.u8('ppo_loss_mask').includes(1));
        const logProbs = newLogProbs(items, seed + 2);
        const entropy = newLogProbs(items, seed + 3);
        const want = naivePolicy(items, logProbs, entropy, o);
        const out = compute(policyLoss(o), sample, { logProbs, entropy });
        expectClose([out.loss], [want.loss]);
        // Away from the corners of the clip, where differences straddle two branches.
        if (want.corner < 1e-4) return;
        const at = (p: number[][], h: number[][]) => naivePolicy(items, p, h, o).loss;
        expectGradient((x) => at(x, entropy), logProbs, out.dLogProbs!, seed);
        if (o.entropyCoeff)
          expectGradient((x) => at(logProbs, x), entropy, out.dEntropy!, seed + 1);
      }),
      { seed: 21, numRuns: 250 },
    );
  });

  it('is the same from microbatches of any cut', () => {
    fc.assert(
      fc.property(options, batches, (o, { n, seed }) => {
        const items = randomItems(n, seed);
        const sample = sampleOf(items);
        fc.pre(sample.u8('ppo_loss_mask').includes(1));
        const logProbs = newLogProbs(items, seed + 2);
        expectMicrobatchInvariant(policyLoss(o), sample, { logProbs, entropy: logProbs }, seed);
      }),
      { seed: 22, numRuns: 80 },
    );
  });

  const answer = (adv: number, old = 0) => ({ mask: [1], old: [old], ref: [0], adv: [adv] });
  const lossAt = (adv: number, ratio: number, o: Partial<PolicyLossOptions>) =>
    compute(policyLoss({ ...base, ...o }), sampleOf([[answer(adv)]]), {
      logProbs: [[Math.log(ratio)]],
      entropy: [[0]],
    });

  it('a higher upper clip lets a good rare token grow further', () => {
    expect(lossAt(1, 1.25, {}).loss).toBeCloseTo(-1.2, 6);
    expect(lossAt(1, 1.25, { epsClipHigher: 0.28 }).loss).toBeCloseTo(-1.25, 6);
    expect(lossAt(-1, 0.7, { epsClipHigher: 0.28 }).loss).toBeCloseTo(0.8, 6);
  });

  it('the dual clip bounds a bad token whose ratio ran away', () => {
    expect(lossAt(-2, 10, {}).loss).toBeCloseTo(20, 5);
    const out = lossAt(-2, 10, { cClip: 3 });
    expect(out.loss).toBeCloseTo(6, 6);
    expect([...out.dLogProbs!]).toEqual([0]);
    expect(out.stats!.dual_clip_ratio).toEqual({ sum: 1, count: 1 });
  });

  it('with one token all averagings and levels are one', () => {
    for (const averaging of lossAveragings)
      for (const ratioLevel of ratioLevels)
        expect(lossAt(1, 1.1, { averaging, ratioLevel, lossNorm: 1 }).loss).toBeCloseTo(-1.1, 6);
  });

  it('skips a minibatch whose answers were all cut, where that is asked for', () => {
    const cut = sampleOf([[{ mask: [0, 0], old: [0, 0], ref: [0, 0], adv: [1, 1] }]]);
    expect(policyLoss(base).weight(cut)).toBe(0);
    const loss = policyLoss({ ...base, skipEmpty: true });
    expect(loss.weight(cut)).toBeGreaterThan(0);
    const out = compute(loss, cut, { logProbs: [[0, 0]], entropy: [[0, 0]] });
    expect(out.loss).toBe(0);
    const stats = Object.fromEntries(
      Object.entries(out.stats!).map(([k, s]): [string, number] => [k, s.count ? s.sum : 0]),
    );
    expect(loss.skipStep!(stats)).toMatch('every answer');
    expect(loss.skipStep!({ unmasked_tokens: 3, importance_weight: 1 })).toBeUndefined();
    // Beside tokens it weighs nothing.
    expect(loss.weight(sampleOf([[answer(1)], [answer(2)]])) + loss.weight(cut)).toBe(2);
  });

  it('names the key and the id of what is not finite', () => {
    const problem = (ref: number, logp: number) =>
      compute(
        policyLoss({ ...base, klCtl: 1 }),
        sampleOf([[answer(1)], [{ ...answer(1), ref: [ref] }]]),
        { logProbs: [[0], [logp]], entropy: [[0], [0]] },
      ).problem;
    expect(problem(NaN, 0)).toBe("'ref_logp' of id 'p1' are NaN");
    expect(problem(0, -Infinity)).toBe("the log-probs of id 'p1' are -Infinity");
    expect(problem(0, -0.5)).toBeUndefined();
  });
});

it('k1, k2 and k3 agree with the KL of a small step, and k2 and k3 are never negative', () => {
  const p = [0.5, 0.3, 0.2];
  const q = [0.49, 0.32, 0.19];
  const exact = p.reduce((sum, x, i) => sum + x * Math.log(x / q[i]!), 0);
  for (const k of klEstimators) {
    const terms = p.map((x, i) => klTerm(Math.log(x), Math.log(q[i]!), k)[0]);
    const expected = terms.reduce((sum, t, i) => sum + p[i]! * t, 0);
    expect(Math.abs(expected - exact) / exact, k).toBeLessThan(k === 'k2' ? 0.05 : 1e-9);
    if (k !== 'k1') expect(Math.min(...terms)).toBeGreaterThanOrEqual(0);
  }
});
