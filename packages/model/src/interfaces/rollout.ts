/** A rollout: prompts and what was generated for them, as one SequenceSample with PPO's keys (reference: 2.8). */
import { SequenceSample, type GenerateOutput } from '@realhf/api';

import { allKept, joinKept } from '../generation/kept-sets.js';

/** What a rollout carries. */
export interface RolloutOptions {
  /** Emit packed_logits_mask even if nothing was filtered. */
  readonly logitsMask: boolean;
}

/**
 * packed_input_ids = prompt ‖ generated; packed_logprobs [L−1] = 0 on prompts ‖ sampled; prompt_mask [L];
 * packed_logits_mask u8: kept sets, L records, record t for the token after t; everything is kept where none was sampled.
 */
export function rollout(
  prompts: SequenceSample,
  gen: GenerateOutput,
  options: RolloutOptions,
): SequenceSample {
  const promptTokens = prompts.i32('packed_prompts');
  const cu = prompts.cuSeqlens('packed_prompts');
  const lengths = gen.tokens.map((t, s) => cu[s + 1]! - cu[s]! + t.length);
  const total = lengths.reduce((a, b) => a + b, 0);
  const ids = new Int32Array(total);
  const logp = new Float32Array(total - lengths.length);
  const mask = new Uint8Array(total);
  const kept: Uint8Array[] = [];
  let at = 0;
  gen.tokens.forEach((tokens, s) => {
    const prompt = promptTokens.subarray(cu[s], cu[s + 1]);
    ids.set(prompt, at);
    ids.set(tokens, at + prompt.length);
    mask.fill(1, at, at + prompt.length);
    logp.set(gen.logProbs[s]!, at - s + prompt.length - 1);
    const sampled = gen.masks?.[s] ?? repeatKept(tokens.length);
    kept.push(joinKept([repeatKept(prompt.length - 1), sampled, allKept]));
    at += lengths[s]!;
  });
  const one = Uint8Array.from(gen.noEos, Number);
  const sample = SequenceSample.fromDefault({
    ids: prompts.ids,
    seqlens: lengths,
    data: {
      packed_input_ids: ids,
      packed_logprobs: logp,
      prompt_mask: mask,
      seq_no_eos_mask: one,
    },
  });
  if (options.logitsMask) sample.update(keptSample(prompts.ids, kept));
  return sample;
}

/** Records of n distributions that nothing was taken from. */
const repeatKept = (n: number) => joinKept(Array<Uint8Array>(n).fill(allKept));

function keptSample(ids: readonly string[], kept: readonly Uint8Array[]): SequenceSample {
  const key = 'packed_logits_mask';
  return new SequenceSample({
    ids,
    seqlens: { [key]: kept.map((k) => [k.length]) },
    data: { [key]: joinKept(kept) },
    dtypes: { [key]: 'u8' },
    trailingShapes: { [key]: [] },
  });
}
