/** A rollout: prompts and what was generated for them, as one SequenceSample with PPO's keys (reference: 2.8). */
import { SequenceSample, type GenerateOutput } from '@realhf/api';

export interface RolloutOptions {
  /** Emit packed_logits_mask even if nothing was filtered. */
  readonly logitsMask: boolean;
  readonly vocabSize: number;
}

/**
 * packed_input_ids = prompt ‖ generated; packed_logprobs [L−1] = 0 on prompts ‖ sampled; prompt_mask [L];
 * packed_logits_mask u32 [L, ⌈V/32⌉]: line t is for the token after t, all ones where nothing was sampled.
 */
export function rollout(
  prompts: SequenceSample,
  gen: GenerateOutput,
  options: RolloutOptions,
): SequenceSample {
  const promptTokens = prompts.i32('packed_prompts');
  const cu = prompts.cuSeqlens('packed_prompts');
  const words = Math.ceil(options.vocabSize / 32);
  const lengths = gen.tokens.map((t, s) => cu[s + 1]! - cu[s]! + t.length);
  const total = lengths.reduce((a, b) => a + b, 0);
  const ids = new Int32Array(total);
  const logp = new Float32Array(total - lengths.length);
  const mask = new Uint8Array(total);
  const kept = options.logitsMask ? new Uint32Array(total * words).fill(0xffffffff) : undefined;
  let at = 0;
  gen.tokens.forEach((tokens, s) => {
    const prompt = promptTokens.subarray(cu[s], cu[s + 1]);
    ids.set(prompt, at);
    ids.set(tokens, at + prompt.length);
    mask.fill(1, at, at + prompt.length);
    logp.set(gen.logProbs[s]!, at - s + prompt.length - 1);
    const lines = gen.masks?.[s];
    if (kept && lines) kept.set(lines, (at + prompt.length - 1) * words);
    at += lengths[s]!;
  });
  const one = Uint8Array.from(gen.noEos, Number);
  return SequenceSample.fromDefault({
    ids: prompts.ids,
    seqlens: lengths,
    data: {
      packed_input_ids: ids,
      packed_logprobs: logp,
      prompt_mask: mask,
      seq_no_eos_mask: one,
      ...(kept ? { packed_logits_mask: kept } : {}),
    },
  });
}
