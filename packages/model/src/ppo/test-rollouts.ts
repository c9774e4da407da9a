/** Random rollouts with everything that a PPO train step reads, ragged and packed. */
import { SequenceSample, type HostArray } from '@realhf/api';

import { keptOffsets } from '../generation/kept-sets.js';
import { gaussian, uniform } from '../losses/test-losses.js';

export interface RolloutSequence {
  readonly prompt: number;
  /** [L − 1]; prompt entries hold numbers that must not matter. */
  readonly old: readonly number[];
  readonly ref: readonly number[];
  /** [L]. */
  readonly values: readonly number[];
  readonly score: number;
  readonly truncated: boolean;
}

/** L ≥ 2 tokens each, at least one of them prompt; a few have no answer at all. */
export function randomRollout(n: number, seed: number): RolloutSequence[] {
  const g = gaussian(seed);
  const u = uniform(seed + 1);
  return Array.from({ length: n }, () => {
    const prompt = 1 + Math.floor(u() * 4);
    const length = Math.max(2, prompt + (u() < 0.1 ? 0 : 1 + Math.floor(u() * 5)));
    const numbers = (k: number, std: number) => Array.from({ length: k }, () => g(std));
    return {
      prompt,
      old: numbers(length - 1, 1),
      ref: numbers(length - 1, 1),
      values: numbers(length, 1),
      score: g(u() < 0.3 ? 20 : 2),
      truncated: u() < 0.4,
    };
  });
}

export function packRollout(
  seqs: readonly RolloutSequence[],
  more: Readonly<Record<string, HostArray>> = {},
): SequenceSample {
  const f32 = (pick: (s: RolloutSequence) => readonly number[]) =>
    Float32Array.from(seqs.flatMap(pick));
  return SequenceSample.fromDefault({
    ids: seqs.map((_, i) => `s${i}`),
    seqlens: seqs.map((s) => s.values.length),
    data: {
      packed_input_ids: Int32Array.from(seqs.flatMap((s) => s.values.map((_, t) => t))),
      prompt_mask: Uint8Array.from(seqs.flatMap((s) => s.values.map((_, t) => +(t < s.prompt)))),
      packed_logprobs: f32((s) => s.old),
      packed_ref_logprobs: f32((s) => s.ref),
      values: f32((s) => s.values),
      rewards: f32((s) => [s.score]),
      seq_no_eos_mask: Uint8Array.from(seqs, (s) => +s.truncated),
      ...more,
    },
  });
}

/** The same with kept sets, a record per token. */
export function withKeptSets(
  sample: SequenceSample,
  records: Uint8Array,
  vocab: number,
): SequenceSample {
  const cu = sample.cuSeqlens('packed_input_ids');
  const offsets = keptOffsets(records, cu.at(-1)!, vocab);
  const key = 'packed_logits_mask';
  const lens = Array.from({ length: sample.bs }, (_, s) => [
    offsets[cu[s + 1]!]! - offsets[cu[s]!]!,
  ]);
  sample.update(
    new SequenceSample({
      ids: sample.ids,
      seqlens: { [key]: lens },
      data: { [key]: records },
      dtypes: { [key]: 'u8' },
      trailingShapes: { [key]: [] },
    }),
  );
  return sample;
}
