/** How much of the vocabulary top-k and top-p left: a falling share tells that the policy grows sharp. */
import type { SequenceSample } from '@realhf/api';

import { keptCount, keptOffsets } from '../generation/kept-sets.js';

/** Mean share of kept tokens in `packed_logits_mask` over masked-in entries of `mask` [Σ(L−1)]; undefined without the key. */
export function validVocabRatio(
  sample: SequenceSample,
  mask: Uint8Array,
  vocabSize: number,
): number | undefined {
  if (!sample.keys.has('packed_logits_mask')) return undefined;
  const bytes = sample.u8('packed_logits_mask');
  const cu = sample.cuSeqlens('packed_input_ids');
  const offsets = keptOffsets(bytes, cu.at(-1)!, vocabSize);
  let kept = 0;
  let n = 0;
  for (let s = 0, j = 0; s + 1 < cu.length; s++) {
    for (let t = cu[s]!; t < cu[s + 1]! - 1; t++, j++) {
      if (!mask[j]) continue;
      n++;
      kept += keptCount(bytes, offsets[t]!, vocabSize);
    }
  }
  return n === 0 ? 1 : kept / (n * vocabSize);
}
