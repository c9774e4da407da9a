/** Shifted masks: entry j of a sequence is about token j + 1. */
import type { SequenceSample } from '@realhf/api';

/** u8 [Σ(L−1)]: 1 where the predicted token is not a prompt token. */
export function answerMask(sample: SequenceSample, inputKey = 'packed_input_ids'): Uint8Array {
  const prompt = sample.u8('prompt_mask');
  const cu = sample.cuSeqlens(inputKey);
  const out = new Uint8Array(cu[cu.length - 1]! - (cu.length - 1));
  let j = 0;
  for (let s = 0; s + 1 < cu.length; s++) {
    for (let t = cu[s]! + 1; t < cu[s + 1]!; t++) out[j++] = prompt[t] ? 0 : 1;
  }
  return out;
}

export function count(mask: Uint8Array): number {
  let n = 0;
  for (const m of mask) n += m;
  return n;
}
