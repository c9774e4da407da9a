/**
 * From what the MFCs produced to what the losses consume (reference: 2.5): KL rewards, task reward on the last entry of
 * terminated sequences, denormalised values, GAE, advantage normalisation. Actor and critic both do this on the same
 * data and get the same numbers.
 */
import { DataError, type SequenceSample } from '@realhf/api';

import { klTerm } from '../losses/kl.js';
import { count } from '../losses/masks.js';
import { assertFinite } from './finite.js';
import { gae } from './gae.js';
import type { PpoOptions } from './options.js';
import {
  answerStats,
  checkedAnswerMask,
  keptLogProbs,
  mean,
  policySample,
  withoutTruncated,
} from './policy-sample.js';
import type { ValueNorm } from './value-norm.js';

/** A rollout, ready for the losses. */
export interface PreparedPpo {
  /** Keys of the minibatch losses: packed_input_ids, old_logp, ref_logp, advantages, returns, old_values, ppo_loss_mask, packed_logits_mask? */
  readonly sample: SequenceSample;
  /** u8 [Σ(L−1)]: all answers. */
  readonly mask: Uint8Array;
  /** u8 [Σ(L−1)]: answers that the policy learns from. */
  readonly policyMask: Uint8Array;
  /** [Σ(L−1)], denormalised. */
  readonly returns: Float64Array;
  /** [Σ(L−1)], before normalisation. */
  readonly advantages: Float64Array;
  /** Means; `task_reward` of scores as they came, clipped or not, `kl_reward`, `kl`, `advantage` (before normalisation), `returns`, `denormalized_values` per answer token. */
  readonly stats: Readonly<Record<string, number>>;
  /** Mean over sequences of the summed log-ratio to the reference, in nats. */
  readonly klPerSequence: number;
}

/**
 * Throws DataError where a sequence is shorter than two tokens or keys do not fit, NumericError naming key and id where
 * an input is not finite (log-probs of prompts are not looked at).
 */
export function preparePpo(
  input: SequenceSample,
  o: PpoOptions,
  klCtl: number,
  norm: ValueNorm | undefined,
): PreparedPpo {
  const cu = input.cuSeqlens('packed_input_ids');
  const n = cu.length - 1;
  const mask = checkedAnswerMask(input);
  const old = input.f32('packed_logprobs');
  const ref = input.f32('packed_ref_logprobs');
  const scores = input.f32('rewards');
  const truncated = input.u8('seq_no_eos_mask');
  const raw = input.f32('values');
  if (scores.length !== n)
    throw new DataError(
      `ppo needs one sequence per item: ${scores.length} rewards for ${n} sequences`,
    );
  for (const key of ['rewards', 'values']) assertFinite(input, key);
  const values = norm ? norm.denormalize(raw) : Float64Array.from(raw);

  const rewards = new Float64Array(mask.length);
  const kls = new Float64Array(n);
  for (let s = 0, j = 0; s < n; s++) {
    if (cu[s + 1]! - cu[s]! < 2)
      throw new DataError(
        `sequence '${input.ids[s]!}' has ${cu[s + 1]! - cu[s]!} token; ppo needs a prompt and an answer`,
      );
    for (let t = cu[s]!; t < cu[s + 1]! - 1; t++, j++) {
      if (!mask[j]) continue;
      const kl = old[j]! - ref[j]!;
      kls[s]! += kl;
      if (o.use_kl_in_reward) rewards[j] = -klCtl * klTerm(old[j]!, ref[j]!, o.kl_estimator)[0];
    }
    const score = Math.min(Math.max(scores[s]!, -o.max_reward_clip), o.max_reward_clip);
    // A sequence that was cut gets no score: its value of the next state stands in.
    if (!truncated[s]) rewards[j - 1]! += score;
  }
  const { advantages, returns } = gae({
    rewards,
    values,
    cuSeqlens: cu,
    bootstrap: truncated,
    gamma: o.discount,
    lambda: o.gae_lambda,
  });
  const policyMask = o.mask_truncated_completions ? withoutTruncated(input, mask) : mask;
  const normalized = o.adv_norm ? normalizeMasked(advantages, policyMask) : advantages;

  const sample = policySample(input, mask, {
    old_logp: keptLogProbs(input, 'packed_logprobs', mask),
    ref_logp: keptLogProbs(input, 'packed_ref_logprobs', mask),
    advantages: Float32Array.from(normalized),
    returns: Float32Array.from(returns),
    old_values: Float32Array.from(dropLast(raw, cu)),
  });

  const tokens = count(mask);
  const masked = (xs: ArrayLike<number>) =>
    mask.reduce((sum, m, j) => sum + (m ? xs[j]! : 0), 0) / Math.max(1, tokens);
  const klTerms = masked(old.map((p, j) => klTerm(p, ref[j]!, o.kl_estimator)[0]));
  const klPerToken = kls.reduce((a, b) => a + b, 0) / Math.max(1, tokens);
  return {
    sample,
    mask,
    policyMask,
    returns,
    advantages,
    klPerSequence: mean(kls),
    stats: {
      task_reward: mean(scores),
      kl_reward: o.use_kl_in_reward ? -klCtl * klTerms : 0,
      kl: klPerToken,
      advantage: masked(advantages),
      returns: masked(returns),
      denormalized_values: masked(dropLast(values, cu)),
      ...answerStats(input, mask),
    },
  };
}

/** [ΣL] → [Σ(L−1)]. */
function dropLast(values: ArrayLike<number>, cu: Int32Array): Float64Array {
  const out: number[] = [];
  for (let s = 0; s + 1 < cu.length; s++)
    for (let t = cu[s]!; t < cu[s + 1]! - 1; t++) out.push(values[t]!);
  return Float64Array.from(out);
}

/** (A − μ) / (σ + 1e-5) over masked-in entries, biased variance unless both are given; 0 elsewhere. */
export function normalizeMasked(
  x: Float64Array,
  mask: Uint8Array,
  whole?: { readonly mu: number; readonly deviation: number },
): Float64Array {
  const n = count(mask);
  if (n === 0) return new Float64Array(x.length);
  const { mu, deviation } = whole ?? spreadOf(x, mask, n);
  return x.map((v, i) => (mask[i] ? (v - mu) / (deviation + 1e-5) : 0));
}

function spreadOf(x: Float64Array, mask: Uint8Array, n: number) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) if (mask[i]) sum += x[i]!;
  const mu = sum / n;
  let squares = 0;
  for (let i = 0; i < x.length; i++) if (mask[i]) squares += (x[i]! - mu) ** 2;
  return { mu, deviation: Math.sqrt(squares / n) };
}
