/** The best answer of every group: what RAFT trains on. */
import { DataError, SequenceSample } from '@realhf/api';

import { assertFinite } from '../ppo/finite.js';
import { mean } from '../ppo/policy-sample.js';

/** Keys packed_input_ids and prompt_mask, one sequence per item; of equal scores the first. Throws NumericError on a score that is not finite. */
export function bestOfGroups(input: SequenceSample): {
  readonly sample: SequenceSample;
  /** Means over answers and over the best ones. */
  readonly stats: { readonly task_reward: number; readonly best_reward: number };
} {
  assertFinite(input, 'rewards');
  const scores = input.f32('rewards');
  const ids = input.i32('packed_input_ids');
  const prompt = input.u8('prompt_mask');
  const cu = input.cuSeqlens('packed_input_ids');
  if (scores.length !== cu.length - 1)
    throw new DataError(`${scores.length} rewards for ${cu.length - 1} answers; give one each`);
  const best: number[] = [];
  let s = 0;
  for (const item of input.seqlens.packed_input_ids!) {
    let at = s;
    for (const end = s + item.length; s < end; s++) if (scores[s]! > scores[at]!) at = s;
    best.push(at);
  }
  const lengths = best.map((b) => cu[b + 1]! - cu[b]!);
  const total = lengths.reduce((a, b) => a + b, 0);
  const data = { packed_input_ids: new Int32Array(total), prompt_mask: new Uint8Array(total) };
  let to = 0;
  best.forEach((b, i) => {
    data.packed_input_ids.set(ids.subarray(cu[b], cu[b + 1]), to);
    data.prompt_mask.set(prompt.subarray(cu[b], cu[b + 1]), to);
    to += lengths[i]!;
  });
  const seqlens = lengths.map((l) => [l]);
  return {
    sample: new SequenceSample({
      ids: input.ids,
      data,
      seqlens: { packed_input_ids: seqlens, prompt_mask: seqlens },
      dtypes: { packed_input_ids: 'i32', prompt_mask: 'u8' },
      trailingShapes: { packed_input_ids: [], prompt_mask: [] },
    }),
    stats: { task_reward: mean(scores), best_reward: mean(best.map((b) => scores[b]!)) },
  };
}
