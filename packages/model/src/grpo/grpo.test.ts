import { NumericError, SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { expectClose } from '../losses/test-losses.js';
import { groupItems, normalizeGroup, repeatPrompts } from './groups.js';
import { prepareGrpo } from './prepare.js';

/** Prompts of 3, 1 and 2 tokens. */
const prompts = SequenceSample.fromDefault({
  ids: ['a', 'b', 'c'],
  seqlens: [3, 1, 2],
  data: { packed_prompts: Int32Array.of(1, 2, 3, 4, 5, 6) },
});

describe('groups', () => {
  it('defect 8: repeated prompts have the lengths of their own tokens', () => {
    const out = repeatPrompts(prompts, 2);
    expect(out.ids).toEqual(['a/0', 'a/1', 'b/0', 'b/1', 'c/0', 'c/1']);
    expect(out.unpack().map((s) => [...s.i32('packed_prompts')])).toEqual([
      [1, 2, 3],
      [1, 2, 3],
      [4],
      [4],
      [5, 6],
      [5, 6],
    ]);
  });
  it('defect 8: a group is the sequences of one item, so a cut between items keeps it whole', () => {
    const grouped = groupItems(repeatPrompts(prompts, 2), prompts.ids, 2);
    expect(grouped.ids).toEqual(['a', 'b', 'c']);
    expect(grouped.seqlens.packed_prompts).toEqual([
      [3, 3],
      [1, 1],
      [2, 2],
    ]);
    expect([...grouped.slice(1, 2).i32('packed_prompts')]).toEqual([4, 4]);
    expect([...grouped.slice(2, 3).i32('packed_prompts')]).toEqual([5, 6, 5, 6]);
  });
  it('ids of groups never meet, even where a prompt is named like an answer', () => {
    const odd = SequenceSample.fromDefault({
      ids: ['a', 'a/0'],
      seqlens: [1, 1],
      data: { packed_prompts: Int32Array.of(1, 2) },
    });
    expect(new Set(repeatPrompts(odd, 3).ids).size).toBe(6);
  });
  it('normalises by the unbiased deviation; a group of equals gives 0', () => {
    expectClose(normalizeGroup([1, 2, 3]), [-1, 0, 1], 2e-5);
    expect(normalizeGroup([2, 2, 2])).toEqual([0, 0, 0]);
  });
});

/** Two prompts of 1 and 3 tokens, two answers each, of 2, 1, 1 and 3 tokens. */
function rollouts(rewards: readonly number[]): SequenceSample {
  const full = [
    [3, 2],
    [4, 6],
  ];
  const short = full.map((item) => item.map((l) => l - 1));
  const one = full.map((item) => item.map(() => 1));
  const prompt = [1, 1, 3, 3];
  const n = short.flat().reduce((a, b) => a + b, 0);
  return new SequenceSample({
    ids: ['a', 'b'],
    seqlens: {
      packed_input_ids: full,
      prompt_mask: full,
      packed_logprobs: short,
      packed_ref_logprobs: short,
      rewards: one,
      seq_no_eos_mask: one,
    },
    data: {
      packed_input_ids: new Int32Array(n + 4),
      prompt_mask: Uint8Array.from(
        full.flat().flatMap((l, s) => Array.from({ length: l }, (_, t) => +(t < prompt[s]!))),
      ),
      packed_logprobs: Float32Array.from({ length: n }, (_, j) => -j),
      packed_ref_logprobs: Float32Array.from({ length: n }, (_, j) => -j - 0.5),
      rewards: Float32Array.from(rewards),
      seq_no_eos_mask: Uint8Array.of(0, 1, 0, 0),
    },
    dtypes: {
      packed_input_ids: 'i32',
      prompt_mask: 'u8',
      packed_logprobs: 'f32',
      packed_ref_logprobs: 'f32',
      rewards: 'f32',
      seq_no_eos_mask: 'u8',
    },
    trailingShapes: Object.fromEntries(
      [
        'packed_input_ids',
        'prompt_mask',
        'packed_logprobs',
        'packed_ref_logprobs',
        'rewards',
        'seq_no_eos_mask',
      ].map((k) => [k, []]),
    ),
  });
}

describe('prepareGrpo', () => {
  it('spreads the normalised score over the answer, discounted to its end', () => {
    const { sample, stats } = prepareGrpo(rollouts([1, 3, 5, 1]), {
      discount: 0.5,
      max_reward_clip: 20,
    });
    const s = Math.SQRT1_2;
    expectClose(
      sample.f32('advantages'),
      [
        // a: −s, s.
        ...[-s / 2, -s],
        ...[s],
        // b: s, −s, after two prompt entries each.
        ...[0, 0, s],
        ...[0, 0, -s / 4, -s / 2, -s],
      ],
      2e-5,
    );
    expect(sample.seqlens.advantages).toEqual([
      [2, 1],
      [3, 5],
    ]);
    expect([...sample.u8('ppo_loss_mask')]).toEqual([1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1]);
    expect(stats).toMatchObject({ task_reward: 2.5, group_std: 1.5, kl: 0.5, n_seqs: 4 });
    expect([stats.n_tokens, stats.avg_prompt_len, stats.no_eos_ratio]).toEqual([7, 2, 0.25]);
  });
  it('clips, and a group of equal scores teaches nothing', () => {
    const { sample } = prepareGrpo(rollouts([2, 2, 0, 9]), { discount: 1, max_reward_clip: 0.5 });
    expect([...sample.f32('advantages')]).toEqual([0, 0, 0, 0, 0, -0.5, 0, 0, 0.5, 0.5, 0.5]);
  });
  const o = { discount: 1, max_reward_clip: 20 };
  /** Of each answer: a's entries 0–1, 2; b's 5, 8–10 after prompts. */
  const perAnswer = (x: Float32Array) => [x[0], x[2], x[5], x[10]];
  it('compares with the mean of the others, after the clip and the KL', () => {
    const loo = { ...o, baseline: 'leave_one_out' } as const;
    const plain = prepareGrpo(rollouts([1, 3, 5, 1]), loo);
    expectClose(perAnswer(plain.sample.f32('advantages')) as number[], [-2, 2, 4, -4]);
    const clipped = prepareGrpo(rollouts([1, 3, 50, 1]), { ...loo, max_reward_clip: 10 });
    expectClose(perAnswer(clipped.sample.f32('advantages')) as number[], [-2, 2, 9, -9]);
    // d = 0.5 per answer token: 2, 1, 1 and 3 of them.
    const klInReward = { klCtl: 0.2, estimator: 'k1' } as const;
    const kl = prepareGrpo(rollouts([1, 3, 5, 1]), { ...loo, klInReward });
    expectClose(perAnswer(kl.sample.f32('advantages')) as number[], [-2.1, 2.1, 4.2, -4.2]);
    expect(kl.stats).toMatchObject({ task_reward: 2.5, kl: 0.5 });
    const k2 = prepareGrpo(rollouts([1, 3, 5, 1]), {
      ...loo,
      klInReward: { ...klInReward, estimator: 'k2' },
    });
    expectClose(perAnswer(k2.sample.f32('advantages')) as number[], [-2.025, 2.025, 4.05, -4.05]);
  });
  it('divides by the deviation of the group, of the batch, or not', () => {
    const by = (scale_rewards: 'batch' | 'none') =>
      perAnswer(
        prepareGrpo(rollouts([1, 3, 5, 1]), { ...o, scale_rewards }).sample.f32('advantages'),
      ) as number[];
    expectClose(by('none'), [-1, 1, 2, -2]);
    const std = Math.sqrt(11 / 3);
    expectClose(by('batch'), [-1 / std, 1 / std, 2 / std, -2 / std], 1e-4);
  });
  it('masks answers that were cut, which still count in their group; whitens what is left', () => {
    const cut = prepareGrpo(rollouts([1, 3, 5, 1]), {
      ...o,
      scale_rewards: 'none',
      mask_truncated_completions: true,
      adv_norm: true,
    });
    expect([...cut.sample.u8('ppo_loss_mask')]).toEqual([1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1]);
    expect([...cut.mask]).toEqual([1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1]);
    const kept = [...cut.sample.f32('advantages')].filter(
      (_, j) => cut.sample.u8('ppo_loss_mask')[j],
    );
    expectClose([kept.reduce((a, b) => a + b, 0)], [0], 0, 1e-5);
    expectClose([kept.reduce((a, b) => a + b * b, 0) / kept.length], [1], 1e-4);
    // Before: −1, −1 | 2 | −2, −2, −2 of groups with both answers.
    expect(kept[2]! - kept[0]!).toBeCloseTo((kept[0]! - kept[3]!) * 3, 4);
  });
  it('works without a reference', () => {
    const input = rollouts([1, 3, 5, 1]);
    const keys = [...input.keys].filter((k) => k !== 'packed_ref_logprobs');
    const prepared = prepareGrpo(input.select(keys), o);
    expect(prepared.sample.keys.has('ref_logp')).toBe(false);
    expect(prepared.stats.kl).toBeUndefined();
  });
  it('names what it cannot use', () => {
    expect(() => prepareGrpo(rollouts([1, NaN, 1, 2]), o)).toThrow(NumericError);
    expect(() => prepareGrpo(rollouts([1, 2, 1, NaN]), o)).toThrow(/'rewards' of id 'b' is NaN/);
    const input = rollouts([1, 2, 3, 4]);
    const flat = groupItems(input, ['a', 'b', 'c', 'd'], 1);
    expect(() => prepareGrpo(flat, o)).toThrow();
  });
});
