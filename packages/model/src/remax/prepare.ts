/** From what ReMax's calls made to what its loss reads (reference: 2.5): the sampled answer's reward minus the greedy one's, on all its tokens. */
import { DataError, type SequenceSample } from '@realhf/api';

import { spread } from '../grpo/prepare.js';
import { assertFinite } from '../ppo/finite.js';
import {
  answerStats,
  checkedAnswerMask,
  keptLogProbs,
  mean,
  policySample,
  withoutTruncated,
} from '../ppo/policy-sample.js';
import { normalizeMasked } from '../ppo/prepare.js';

/** From scores of sampled and greedy answers to advantages. */
export interface PrepareRemaxOptions {
  readonly discount: number;
  readonly adv_norm: boolean;
  readonly mask_truncated_completions: boolean;
}

/** Throws DataError where an item has not one answer and two rewards, NumericError where an input is not finite. */
export function prepareRemax(
  input: SequenceSample,
  o: PrepareRemaxOptions,
): {
  /** Keys of the loss: packed_input_ids, old_logp, advantages, ppo_loss_mask, packed_logits_mask? */
  readonly sample: SequenceSample;
  /** u8 [Σ(L−1)]. */
  readonly mask: Uint8Array;
  /** Means: `task_reward`, `greedy_reward`, and those of the answers. */
  readonly stats: Readonly<Record<string, number>>;
} {
  const mask = checkedAnswerMask(input);
  const [rewards, greedy] = [input.f32('rewards'), input.f32('greedy_rewards')];
  const lengths = input.lengths('packed_input_ids');
  if (lengths.length !== input.bs || rewards.length !== input.bs || greedy.length !== input.bs)
    throw new DataError(
      `${input.bs} items with ${lengths.length} answers, ${rewards.length} rewards and ${greedy.length} greedy rewards; remax needs one of each`,
    );
  for (const key of ['rewards', 'greedy_rewards']) assertFinite(input, key);
  const differences = Array.from(rewards, (r, i) => r - greedy[i]!);
  const short = lengths.map((l) => [l - 1]);
  const lossMask = o.mask_truncated_completions ? withoutTruncated(input, mask) : mask;
  const plain = spread(differences, short, mask, o.discount);
  const advantages = o.adv_norm ? normalizeMasked(plain, lossMask) : plain;
  return {
    sample: policySample(input, lossMask, {
      old_logp: keptLogProbs(input, 'packed_logprobs', mask),
      advantages: Float32Array.from(advantages),
    }),
    mask,
    stats: {
      task_reward: mean(rewards),
      greedy_reward: mean(greedy),
      ...answerStats(input, mask),
    },
  };
}
