/** How much of the vocabulary top-k and top-p left: a falling share tells that the policy grows sharp. */
import type { SequenceSample } from '@realhf/api';

/**
 * Mean share of kept tokens in `packed_logits_mask` over masked-in entries of `mask` [Σ(L−1)]; undefined without the
 * key. Bits past the vocabulary do not count.
 */
export function validVocabRatio(
  sample: SequenceSample,
  mask: Uint8Array,
  vocabSize: number,
): number | undefined {
  if (!sample.keys.has('packed_logits_mask')) return undefined;
  const bits = sample.u32('packed_logits_mask');
  const cu = sample.cuSeqlens('packed_input_ids');
  const words = Math.ceil(vocabSize / 32);
  const lastWord = vocabSize % 32 === 0 ? 0xffffffff : 2 ** (vocabSize % 32) - 1;
  let kept = 0;
  let n = 0;
  for (let s = 0, j = 0; s + 1 < cu.length; s++) {
    for (let t = cu[s]!; t < cu[s + 1]! - 1; t++, j++) {
      if (!mask[j]) continue;
      n++;
      for (let w = 0; w < words; w++)
        kept += popcount(bits[t * words + w]! & (w === words - 1 ? lastWord : -1));
    }
  }
  return n === 0 ? 1 : kept / (n * vocabSize);
}

function popcount(x: number): number {
  x -= (x >>> 1) & 0x55555555;
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
