/** A verifiable reward: 1 where the answer is what the record of the prompt says, else 0. */
import type { RewardBatch } from '@realhf/model';

export function reward({ completions, records }: RewardBatch): number[] {
  return completions.map((text, i) => (text === records[i]!.best ? 1 : 0));
}
