/** The share of four letters of an answer that are the prompt's. */
import type { RewardBatch } from '@realhf/model';

export function reward({ prompts, completions }: RewardBatch): number[] {
  return completions.map((text, i) => Math.min(1, (text.split(prompts[i]!).length - 1) / 4));
}
