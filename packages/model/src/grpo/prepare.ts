/**
 * From what the calls of group algorithms made to what their loss reads (reference: 2.5): scores compared within the
 * group of a prompt, and spread over the answer as discount^(tokens to the end) · score. No critic, no bootstrap: an
 * answer that was cut has its score like the others. GRPO compares with the mean of the group, RLOO (Ahmadian et al.,
 * arXiv 2402.14740) with the mean of the others.
 */
import { DataError, type SequenceSample } from '@realhf/api';

import { klTerm, type KlEstimator } from '../losses/kl.js';
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
import { leaveOneOut, normalizeGroup } from './groups.js';

/** A batch of groups, ready for the loss. */
export interface PreparedGrpo {
  /** Keys of the loss: packed_input_ids, old_logp, ref_logp?, advantages, ppo_loss_mask, packed_logits_mask? */
  readonly sample: SequenceSample;
  /** u8 [Σ(L−1)]: all answers. */
  readonly mask: Uint8Array;
  /** Means: `task_reward` of scores as they came, `group_std` of their deviation within a group, `kl` per answer token. */
  readonly stats: Readonly<Record<string, number>>;
}

/** From scores of a group to advantages. */
export interface PrepareGroupOptions {
  readonly discount: number;
  /** Bound of normalised scores; with leave_one_out of the scores themselves. */
  readonly max_reward_clip: number;
  /** Default mean. */
  readonly baseline?: 'mean' | 'leave_one_out';
  /** Default group. */
  readonly scale_rewards?: 'group' | 'batch' | 'none';
  /** Of the scores of all data-parallel ranks, for scale_rewards=batch. Default: of this batch. */
  readonly batchStd?: number;
  readonly adv_norm?: boolean;
  readonly mask_truncated_completions?: boolean;
  /** The KL of an answer is taken off its score, before scores are compared. */
  readonly klInReward?: { readonly klCtl: number; readonly estimator: KlEstimator };
}

/** Throws DataError where an item has fewer than two sequences or keys do not fit, NumericError naming key and id where an input is not finite. */
export function prepareGrpo(input: SequenceSample, o: PrepareGroupOptions): PreparedGrpo {
  const hasRef = input.keys.has('packed_ref_logprobs');
  const short = input.seqlens.packed_input_ids!.map((item) => item.map((l) => l - 1));
  const scores = input.f32('rewards');
  const n = short.flat().length;
  const mask = checkedLengths(input, n, hasRef);
  assertFinite(input, 'rewards');
  const old = input.f32('packed_logprobs');
  const ref = hasRef ? input.f32('packed_ref_logprobs') : undefined;

  const judged = Float64Array.from(scores);
  if (o.baseline === 'leave_one_out')
    judged.forEach((x, s) => (judged[s] = clip(x, o.max_reward_clip)));
  let kl = 0;
  for (let s = 0, j = 0; ref && s < n; s++) {
    for (const end = j + short.flat()[s]!; j < end; j++) {
      if (!mask[j]) continue;
      kl += old[j]! - ref[j]!;
      if (o.klInReward)
        judged[s]! -= o.klInReward.klCtl * klTerm(old[j]!, ref[j]!, o.klInReward.estimator)[0];
    }
  }
  let advantages = spread(compared(input, judged, o), short, mask, o.discount);
  const lossMask = o.mask_truncated_completions ? withoutTruncated(input, mask) : mask;
  if (o.adv_norm) advantages = normalizeMasked(advantages, lossMask);
  const stats = answerStats(input, mask);
  return {
    sample: policySample(input, lossMask, {
      old_logp: keptLogProbs(input, 'packed_logprobs', mask),
      ...(ref ? { ref_logp: keptLogProbs(input, 'packed_ref_logprobs', mask) } : {}),
      advantages: Float32Array.from(advantages),
    }),
    mask,
    stats: {
      task_reward: mean(scores),
      group_std: mean(groups(input, scores).map(biasedStd)),
      ...(ref ? { kl: kl / Math.max(1, stats.n_tokens!) } : {}),
      ...stats,
    },
  };
}

const clip = (x: number, bound: number) => Math.min(Math.max(x, -bound), bound);
const biasedStd = (xs: readonly number[]) => {
  const m = mean(xs);
  return Math.sqrt(mean(xs.map((x) => (x - m) ** 2)));
};

function checkedLengths(input: SequenceSample, n: number, hasRef: boolean): Uint8Array {
  const mask = checkedAnswerMask(input);
  const scores = input.f32('rewards').length;
  const old = input.f32('packed_logprobs').length;
  const ref = hasRef ? input.f32('packed_ref_logprobs').length : mask.length;
  if (scores !== n || old !== mask.length || ref !== mask.length)
    throw new DataError(
      `${n} sequences with ${mask.length} log-probs, but ${scores} rewards, ${old} sampled and ${ref} reference log-probs`,
    );
  return mask;
}

/** A number per sequence, cut into the groups of items. */
function groups(input: SequenceSample, xs: ArrayLike<number>): number[][] {
  const all = Array.from(xs);
  let at = 0;
  return input.seqlens.packed_input_ids!.map((item, i) => {
    if (item.length < 2)
      throw new DataError(
        `id '${input.ids[i]!}' has ${item.length} answer; at least two of a prompt are compared`,
      );
    return all.slice(at, (at += item.length));
  });
}

/** One advantage per sequence. */
function compared(input: SequenceSample, xs: Float64Array, o: PrepareGroupOptions): number[] {
  const groupsOf = groups(input, xs);
  if (o.baseline === 'leave_one_out') return groupsOf.flatMap(leaveOneOut);
  const scale = o.scale_rewards ?? 'group';
  const all = mean(xs);
  const batchStd =
    o.batchStd ?? Math.sqrt(xs.reduce((a, x) => a + (x - all) ** 2, 0) / (xs.length - 1));
  return groupsOf.flatMap((group) => {
    if (scale === 'group') return normalizeGroup(group).map((a) => clip(a, o.max_reward_clip));
    const m = mean(group);
    const by = scale === 'batch' ? batchStd + 1e-5 : 1;
    return group.map((x) => clip((x - m) / by, o.max_reward_clip));
  });
}

/** [Σ(L−1)]: discount^(tokens to the end) · the sequence's number on its answer, 0 elsewhere. */
export function spread(
  perSequence: readonly number[],
  short: readonly (readonly number[])[],
  mask: Uint8Array,
  discount: number,
): Float64Array {
  const out = new Float64Array(mask.length);
  let at = 0;
  short.flat().forEach((length, s) => {
    let a = perSequence[s]!;
    for (let j = at + length - 1; j >= at; j--, a *= discount) if (mask[j]) out[j] = a;
    at += length;
  });
  return out;
}
