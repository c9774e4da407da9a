/** What prepared policy minibatches share: the sample that the loss reads, and stats of answers. */
import { SequenceSample, type HostArray, type SampleDType } from '@realhf/api';

import { answerMask, count } from '../losses/masks.js';
import { assertFinite } from './finite.js';

export const mean = (xs: ArrayLike<number>) =>
  xs.length === 0 ? 0 : Array.from(xs).reduce((a, b) => a + b, 0) / xs.length;

/** [Σ(L−1)] of `mask` without the sequences that were cut. */
export function withoutTruncated(input: SequenceSample, mask: Uint8Array): Uint8Array {
  const out = Uint8Array.from(mask);
  const cut = input.u8('seq_no_eos_mask');
  let at = 0;
  input.lengths('packed_input_ids').forEach((length, s) => {
    if (cut[s]) out.fill(0, at, at + length - 1);
    at += length - 1;
  });
  return out;
}

/** u8 [Σ(L−1)]; throws NumericError where a log-prob of an answer is not finite. */
export function checkedAnswerMask(input: SequenceSample): Uint8Array {
  const mask = answerMask(input);
  for (const key of ['packed_logprobs', 'packed_ref_logprobs'])
    if (input.keys.has(key)) assertFinite(input, key, mask);
  return mask;
}

/** packed_input_ids, packed_logits_mask? and `ppo_loss_mask` of the input, and per-token vectors [Σ(L−1)] by key. */
export function policySample(
  input: SequenceSample,
  lossMask: Uint8Array,
  vectors: Readonly<Record<string, Float32Array>>,
): SequenceSample {
  const full = input.seqlens.packed_input_ids!;
  const short = full.map((item) => item.map((l) => l - 1));
  const keys: Record<string, [HostArray, SampleDType, readonly (readonly number[])[]]> = {
    packed_input_ids: [input.i32('packed_input_ids'), 'i32', full],
    ppo_loss_mask: [lossMask, 'u8', short],
  };
  for (const [name, data] of Object.entries(vectors)) keys[name] = [data, 'f32', short];
  const filter = 'packed_logits_mask';
  if (input.keys.has(filter)) keys[filter] = [input.u8(filter), 'u8', input.seqlens[filter]!];
  const pick = <K extends 0 | 1 | 2>(k: K) =>
    Object.fromEntries(Object.entries(keys).map(([name, v]) => [name, v[k]]));
  return new SequenceSample({
    ids: input.ids,
    data: pick(0),
    dtypes: pick(1),
    seqlens: pick(2),
    trailingShapes: Object.fromEntries(Object.keys(keys).map((k) => [k, []])),
  });
}

/** Lengths and ends of the answers under `mask` [Σ(L−1)]. */
export function answerStats(input: SequenceSample, mask: Uint8Array): Record<string, number> {
  const lengths = input.lengths('packed_input_ids');
  const tokens = count(mask);
  return {
    avg_seq_len: mean(lengths),
    avg_prompt_len: mean(lengths) - tokens / lengths.length,
    n_tokens: tokens,
    n_seqs: lengths.length,
    no_eos_ratio: mean(input.u8('seq_no_eos_mask')),
  };
}

/** Log-probs, 0 on prompts. */
export function keptLogProbs(input: SequenceSample, key: string, mask: Uint8Array): Float32Array {
  return input.f32(key).map((v, j) => (mask[j] ? v : 0));
}

/** The sample with another `ppo_loss_mask`. */
export function withLossMask(sample: SequenceSample, mask: Uint8Array): SequenceSample {
  const { ids, seqlens, dtypes, trailingShapes, metadata } = sample;
  const data = { ...sample.data, ppo_loss_mask: mask };
  return new SequenceSample({ ids, seqlens, dtypes, trailingShapes, metadata, data });
}
