/** Whether the filter of top_p, top_k and min_new_tokens has to travel with the sequences. */
import { normalizeGeneration, type GenerationHyperparameters } from '@realhf/api';

/** True where sampling can remove tokens of a vocabulary of this size and may record them. */
export function recordsMask(gen: GenerationHyperparameters, vocabSize: number): boolean {
  const g = normalizeGeneration(gen);
  return (
    !g.greedy &&
    !g.force_no_logits_mask &&
    (g.top_p < 1 || g.top_k < vocabSize || g.min_new_tokens > 0)
  );
}
