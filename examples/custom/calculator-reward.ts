/** 1 where the answer is right: said at once, or after the calculator was asked and said it. */
import type { RewardBatch } from '@realhf/model';

export function reward({ prompts, completions, records }: RewardBatch): number[] {
  return completions.map((text, i) => {
    const best = String(records[i]!.best);
    const asked = `${prompts[i]!.slice(0, -1)}=${best}`;
    return text === best || text === asked + best ? 1 : 0;
  });
}
