/**
 * From what GRPO's calls made to what its loss reads (reference: 2.5): scores normalised within the group of a prompt,
 * clipped, and spread over the answer as discount^(tokens to the end) · score. No critic, no bootstrap: an answer that
 * was cut has its score like the others.
 */
import { DataError, SequenceSample, type HostArray, type SampleDType } from '@realhf/api';

import { answerMask, count } from '../losses/masks.js';
import { assertFinite } from '../ppo/finite.js';
import { normalizeGroup } from './groups.js';
import type { GrpoOptions } from './options.js';

export interface PreparedGrpo {
  /** Keys of the loss: packed_input_ids, old_logp, ref_logp, advantages, ppo_loss_mask, packed_logits_mask? */
  readonly sample: SequenceSample;
  /** u8 [Σ(L−1)]. */
  readonly mask: Uint8Array;
  /** Means: `task_reward` of scores as they came, `group_std` of their deviation within a group, `kl` per answer token. */
  readonly stats: Readonly<Record<string, number>>;
}

const mean = (xs: ArrayLike<number>) =>
  xs.length === 0 ? 0 : Array.from(xs).reduce((a, b) => a + b, 0) / xs.length;

/** Throws DataError where an item has fewer than two sequences or keys do not fit, NumericError naming key and id where an input is not finite. */
export function prepareGrpo(
  input: SequenceSample,
  o: Pick<GrpoOptions, 'discount' | 'max_reward_clip'>,
): PreparedGrpo {
  const full = input.seqlens.packed_input_ids!;
  const short = full.map((item) => item.map((l) => l - 1));
  const mask = answerMask(input);
  const [old, ref] = [input.f32('packed_logprobs'), input.f32('packed_ref_logprobs')];
  const scores = input.f32('rewards');
  const n = full.flat().length;
  if (scores.length !== n || old.length !== mask.length || ref.length !== mask.length)
    throw new DataError(
      `grpo: ${n} sequences with ${mask.length} log-probs, but ${scores.length} rewards, ${old.length} sampled and ${ref.length} reference log-probs`,
    );
  assertFinite(input, 'rewards');
  for (const key of ['packed_logprobs', 'packed_ref_logprobs']) assertFinite(input, key, mask);

  const advantages = new Float32Array(mask.length);
  const deviations: number[] = [];
  let s = 0;
  let at = 0;
  short.forEach((item, i) => {
    if (item.length < 2)
      throw new DataError(
        `id '${input.ids[i]!}' has ${item.length} answer; grpo compares at least two of a prompt`,
      );
    const group = scores.subarray(s, s + item.length);
    const m = mean(group);
    deviations.push(Math.sqrt(mean(group.map((x) => (x - m) ** 2))));
    for (const [g, score] of normalizeGroup(group).entries()) {
      let a = Math.min(Math.max(score, -o.max_reward_clip), o.max_reward_clip);
      for (let j = at + item[g]! - 1; j >= at; j--, a *= o.discount) if (mask[j]) advantages[j] = a;
      at += item[g]!;
    }
    s += item.length;
  });
  const kept = (x: Float32Array) => x.map((v, j) => (mask[j] ? v : 0));
  const keys: Record<string, [HostArray, SampleDType, readonly (readonly number[])[]]> = {
    packed_input_ids: [input.i32('packed_input_ids'), 'i32', full],
    old_logp: [kept(old), 'f32', short],
    ref_logp: [kept(ref), 'f32', short],
    advantages: [advantages, 'f32', short],
    ppo_loss_mask: [mask, 'u8', short],
  };
  const filter = 'packed_logits_mask';
  if (input.keys.has(filter)) keys[filter] = [input.u8(filter), 'u8', input.seqlens[filter]!];
  const pick = <K extends 0 | 1 | 2>(k: K) =>
    Object.fromEntries(Object.entries(keys).map(([name, v]) => [name, v[k]]));
  const tokens = count(mask);
  const lengths = full.flat();
  return {
    sample: new SequenceSample({
      ids: input.ids,
      data: pick(0),
      dtypes: pick(1),
      seqlens: pick(2),
      trailingShapes: Object.fromEntries(Object.keys(keys).map((k) => [k, []])),
    }),
    mask,
    stats: {
      task_reward: mean(scores),
      group_std: mean(deviations),
      kl: mask.reduce((sum, m, j) => sum + (m ? old[j]! - ref[j]! : 0), 0) / Math.max(1, tokens),
      avg_seq_len: mean(lengths),
      avg_prompt_len: mean(lengths) - tokens / n,
      n_tokens: tokens,
      n_seqs: n,
      no_eos_ratio: mean(input.u8('seq_no_eos_mask')),
    },
  };
}
