import { NumericError, SequenceSample } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { expectClose } from '../losses/test-losses.js';
import { ppoOptionsSchema, type PpoOptions } from './options.js';
import { normalizeMasked, preparePpo } from './prepare.js';
import { encodeKept, joinKept } from '../generation/kept-sets.js';
import { packRollout, randomRollout, withKeptSets, type RolloutSequence } from './test-rollouts.js';
import { ValueNorm } from './value-norm.js';

const defaults = ppoOptionsSchema.parse({});
const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;

/** Reference 2.5, sequence by sequence and from its definitions. */
function naive(
  seqs: readonly RolloutSequence[],
  o: PpoOptions,
  klCtl: number,
  scale: { mean: number; std: number },
) {
  const each = seqs.map((s) => {
    const steps = s.old.length;
    // Entry t is about token t + 1.
    const counts = s.old.map((_, t) => t + 1 >= s.prompt);
    const kl = s.old.map((p, t) => (counts[t] ? p - s.ref[t]! : 0));
    const rewards = kl.map((k) => -klCtl * k);
    if (!s.truncated)
      rewards[steps - 1]! += Math.max(-o.max_reward_clip, Math.min(o.max_reward_clip, s.score));
    const v = s.values.map((x) => x * scale.std + scale.mean);
    if (!s.truncated) v[steps] = 0;
    const advantages = rewards.map((_, t) => {
      let a = 0;
      for (let k = t; k < steps; k++)
        a +=
          Math.pow(o.discount * o.gae_lambda, k - t) *
          (rewards[k]! + o.discount * v[k + 1]! - v[k]!);
      return a;
    });
    return { counts, kl, v, advantages, returns: advantages.map((a, t) => a + v[t]!) };
  });
  type Each = (typeof each)[number];
  const flat = (pick: (e: Each) => readonly number[]) => each.flatMap((e) => [...pick(e)]);
  const mask = each.flatMap((e) => e.counts);
  const only = (xs: readonly number[]) => xs.filter((_, j) => mask[j]);
  const a = only(flat((e) => e.advantages));
  const mu = mean(a);
  const std = Math.sqrt(mean(a.map((x) => (x - mu) ** 2)));
  return {
    mask,
    returns: flat((e) => e.returns),
    advantages: flat((e) => e.advantages).map((x, j) =>
      o.adv_norm ? (mask[j] ? (x - mu) / (std + 1e-5) : 0) : x,
    ),
    klPerSequence: mean(each.map((e) => e.kl.reduce((x, y) => x + y, 0))),
    stats: {
      task_reward: mean(seqs.map((s) => s.score)),
      kl_reward: mean(only(flat((e) => e.kl.map((k) => -klCtl * k)))),
      kl: mean(only(flat((e) => e.kl))),
      advantage: mu,
      returns: mean(only(flat((e) => e.returns))),
      denormalized_values: mean(only(flat((e) => e.v.slice(0, -1)))),
      avg_seq_len: mean(seqs.map((s) => s.values.length)),
      avg_prompt_len: mean(seqs.map((s) => s.prompt)),
      n_tokens: a.length,
      n_seqs: seqs.length,
      no_eos_ratio: mean(seqs.map((s) => (s.truncated ? 1 : 0))),
    },
  };
}

const variants = fc.record({
  discount: fc.constantFrom(1, 0.9),
  gae_lambda: fc.constantFrom(1, 0.95, 0),
  max_reward_clip: fc.constantFrom(5, 20),
  adv_norm: fc.boolean(),
});

describe('preparePpo', () => {
  it('is reference 2.5 on random rollouts', () => {
    fc.assert(
      fc.property(
        variants,
        fc.integer({ min: 1, max: 8 }),
        fc.nat(),
        fc.boolean(),
        (v, n, seed, useNorm) => {
          const o = { ...defaults, ...v };
          const seqs = randomRollout(n, seed);
          fc.pre(seqs.some((s) => s.values.length > s.prompt));
          const norm = new ValueNorm({ type: 'ma', beta: 0, eps: 1e-5 });
          norm.update([1, 4, -2], Uint8Array.of(1, 1, 1));
          const want = naive(seqs, o, 0.3, useNorm ? norm.stats() : { mean: 0, std: 1 });
          const got = preparePpo(packRollout(seqs), o, 0.3, useNorm ? norm : undefined);
          expect([...got.mask].map(Boolean)).toEqual(want.mask);
          expectClose(got.returns, want.returns, 1e-9, 1e-9);
          expectClose(got.sample.f32('returns'), want.returns);
          expectClose(got.sample.f32('advantages'), want.advantages, 1e-4, 1e-5);
          expectClose([got.klPerSequence], [want.klPerSequence], 1e-9, 1e-9);
          expect(Object.keys(got.stats).sort()).toEqual(Object.keys(want.stats).sort());
          for (const [name, x] of Object.entries(want.stats))
            expectClose([got.stats[name]!], [x], 1e-6, 1e-6);
          expectClose(
            got.sample.f32('old_values'),
            seqs.flatMap((s) => s.values.slice(0, -1)),
          );
          const old = seqs.flatMap((s) => s.old).map((p, j) => (want.mask[j] ? p : 0));
          expectClose(got.sample.f32('old_logp'), old);
          expect([...got.sample.u8('ppo_loss_mask')]).toEqual([...got.mask]);
        },
      ),
      { seed: 1, numRuns: 300 },
    );
  });

  /** Prompt of 2, answer of 2; log-ratios 0.5 and −0.2. */
  const small = (more: Partial<RolloutSequence> = {}): RolloutSequence => ({
    prompt: 2,
    old: [9, -1, -1],
    ref: [-9, -1.5, -0.75],
    values: [0, 1, 2, 4],
    score: 3,
    truncated: false,
    ...more,
  });
  const plain = { ...defaults, adv_norm: false };

  it('by hand: a policy above the reference pays, the score comes at the last entry, once', () => {
    const { returns, stats, klPerSequence } = preparePpo(
      packRollout([small()]),
      plain,
      0.1,
      undefined,
    );
    // Rewards 0, −0.1 · 0.5, −0.1 · −0.25 + 3; γ = λ = 1, so returns are sums to go.
    expectClose(returns, [2.975, 2.975, 3.025]);
    expectClose([stats.kl_reward!, stats.kl!, klPerSequence], [-0.0125, 0.125, 0.25]);
  });
  it('by hand: a truncated sequence gets its last value instead of the score', () => {
    const seqs = [small({ truncated: true })];
    expectClose(
      preparePpo(packRollout(seqs), plain, 0.1, undefined).returns,
      [3.975, 3.975, 4.025],
    );
    expect(preparePpo(packRollout(seqs), plain, 0.1, undefined).stats.task_reward).toBe(3);
  });
  it('clips the score and reports it as it came', () => {
    for (const score of [100, -100]) {
      const { returns, stats } = preparePpo(packRollout([small({ score })]), plain, 0, undefined);
      expectClose(returns, Array(3).fill(Math.sign(score) * 20) as number[]);
      expect(stats.task_reward).toBe(score);
    }
  });

  it.each(['rewards', 'values', 'packed_logprobs', 'packed_ref_logprobs'])(
    'names the key and the id of a NaN in %s',
    (key) => {
      const input = packRollout([small(), small({ prompt: 1 }), small()]);
      const data = input.f32(key);
      data[key === 'rewards' ? 1 : key === 'values' ? 5 : 4] = NaN;
      const run = () => preparePpo(input, defaults, 0.1, undefined);
      expect(run).toThrow(NumericError);
      expect(run).toThrow(new RegExp(`'${key}' of id 's1' is NaN`));
    },
  );
  it('does not look at log-probs of prompts', () => {
    const input = packRollout([small({ old: [NaN, -1, -1], ref: [-Infinity, -1.5, -0.75] })]);
    const { sample, returns } = preparePpo(input, plain, 0.1, undefined);
    expectClose(returns, [2.975, 2.975, 3.025]);
    expect(sample.f32('old_logp')[0]).toBe(0);
  });

  it('refuses a sequence of one token, and items of several sequences', () => {
    const one = { ...small(), prompt: 1, old: [], ref: [], values: [1] };
    expect(() => preparePpo(packRollout([small(), one]), defaults, 0.1, undefined)).toThrow(
      /sequence 's1' has 1 token; ppo needs a prompt and an answer/,
    );
    const input = packRollout([small(), small()]);
    const pair = new SequenceSample({
      ids: ['a'],
      seqlens: Object.fromEntries(
        Object.entries(input.seqlens).map(([k, l]) => [k, [k === 'rewards' ? [1] : l.flat()]]),
      ),
      data: { ...input.data, rewards: Float32Array.of(1) },
      dtypes: input.dtypes,
      trailingShapes: input.trailingShapes,
    });
    expect(() => preparePpo(pair, defaults, 0.1, undefined)).toThrow(/one sequence per item/);
  });

  it('carries packed_logits_mask to the loss', () => {
    const lines = Array.from({ length: small().values.length }, (_, t) => encodeKept([5 + t], 32));
    const mask = joinKept(lines);
    const input = withKeptSets(packRollout([small()]), mask, 32);
    const { sample } = preparePpo(input, defaults, 0.1, undefined);
    expect(sample.u8('packed_logits_mask')).toEqual(mask);
    expect(sample.lengths('packed_logits_mask')).toEqual([mask.length]);
  });
});

describe('normalizeMasked', () => {
  it('has mean 0 and deviation 1 over the mask, 0 outside', () => {
    const x = Float64Array.of(1, 1e9, 2, 3, -1e9);
    const got = normalizeMasked(x, Uint8Array.of(1, 0, 1, 1, 0));
    const std = Math.sqrt(2 / 3) + 1e-5;
    expectClose(got, [-1 / std, 0, 0, 1 / std, 0], 1e-12);
  });
  it('keeps equal advantages at 0, and survives an empty mask', () => {
    expect([...normalizeMasked(Float64Array.of(7, 7), Uint8Array.of(1, 1))]).toEqual([0, 0]);
    expect([...normalizeMasked(Float64Array.of(7, 7), Uint8Array.of(0, 0))]).toEqual([0, 0]);
  });
  it('keeps small differences on a large mean', () => {
    const got = normalizeMasked(Float64Array.of(1e8 + 1, 1e8 - 1), Uint8Array.of(1, 1));
    expectClose(got, [1, -1], 1e-4);
  });
});
