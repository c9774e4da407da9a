/**
 * From what the MFCs produced to what the losses consume (reference: 2.5): KL rewards, task reward on the last entry of
 * terminated sequences, denormalised values, GAE, advantage normalisation. Actor and critic both do this on the same
 * data and get the same numbers.
 */
import { DataError, SequenceSample, type HostArray } from '@realhf/api';

import { answerMask, count } from '../losses/masks.js';
import { assertFinite } from './finite.js';
import { gae } from './gae.js';
import type { PpoOptions } from './options.js';
import type { ValueNorm } from './value-norm.js';

export interface PreparedPpo {
  /** Keys of the minibatch losses: packed_input_ids, old_logp, advantages, returns, old_values, ppo_loss_mask, packed_logits_mask? */
  readonly sample: SequenceSample;
  /** u8 [Σ(L−1)]. */
  readonly mask: Uint8Array;
  /** [Σ(L−1)], denormalised. */
  readonly returns: Float64Array;
  /** Means; `task_reward` of scores as they came, clipped or not, `kl_reward`, `kl`, `advantage` (before normalisation), `returns`, `denormalized_values` per answer token. */
  readonly stats: Readonly<Record<string, number>>;
  /** Mean over sequences of the summed log-ratio to the reference, in nats. */
  readonly klPerSequence: number;
}

const mean = (xs: ArrayLike<number>) =>
  xs.length === 0 ? 0 : Array.from(xs).reduce((a, b) => a + b, 0) / xs.length;

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
  const mask = answerMask(input);
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
  for (const key of ['packed_logprobs', 'packed_ref_logprobs']) assertFinite(input, key, mask);
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
      rewards[j] = -klCtl * kl;
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
  const normalized = o.adv_norm ? normalizeMasked(advantages, mask) : advantages;

  const oldValues = new Float32Array(mask.length);
  const oldLogp = new Float32Array(mask.length);
  for (let s = 0, j = 0; s < n; s++) {
    for (let t = cu[s]!; t < cu[s + 1]! - 1; t++, j++) {
      oldValues[j] = raw[t]!;
      if (mask[j]) oldLogp[j] = old[j]!;
    }
  }
  const short = (lens: readonly (readonly number[])[]) => lens.map((l) => l.map((x) => x - 1));
  const full = input.seqlens.packed_input_ids!;
  const keys: Record<
    string,
    {
      data: HostArray;
      dtype: 'f32' | 'i32' | 'u32' | 'u8';
      lens: readonly (readonly number[])[];
      trailing: readonly number[];
    }
  > = {
    packed_input_ids: {
      data: input.i32('packed_input_ids'),
      dtype: 'i32',
      lens: full,
      trailing: [],
    },
    old_logp: { data: oldLogp, dtype: 'f32', lens: short(full), trailing: [] },
    advantages: {
      data: Float32Array.from(normalized),
      dtype: 'f32',
      lens: short(full),
      trailing: [],
    },
    returns: { data: Float32Array.from(returns), dtype: 'f32', lens: short(full), trailing: [] },
    old_values: { data: oldValues, dtype: 'f32', lens: short(full), trailing: [] },
    ppo_loss_mask: { data: mask, dtype: 'u8', lens: short(full), trailing: [] },
  };
  if (input.keys.has('packed_logits_mask')) {
    keys.packed_logits_mask = {
      data: input.u8('packed_logits_mask'),
      dtype: 'u8',
      lens: input.seqlens.packed_logits_mask!,
      trailing: [],
    };
  }
  const pick = <K extends 'data' | 'dtype' | 'lens' | 'trailing'>(k: K) =>
    Object.fromEntries(Object.entries(keys).map(([name, v]) => [name, v[k]]));
  const sample = new SequenceSample({
    ids: input.ids,
    seqlens: pick('lens'),
    data: pick('data'),
    dtypes: pick('dtype'),
    trailingShapes: pick('trailing'),
  });

  const tokens = count(mask);
  const lengths = Array.from({ length: n }, (_, s) => cu[s + 1]! - cu[s]!);
  const masked = (xs: ArrayLike<number>) =>
    mask.reduce((sum, m, j) => sum + (m ? xs[j]! : 0), 0) / Math.max(1, tokens);
  const klPerToken = kls.reduce((a, b) => a + b, 0) / Math.max(1, tokens);
  return {
    sample,
    mask,
    returns,
    klPerSequence: mean(kls),
    stats: {
      task_reward: mean(scores),
      kl_reward: -klCtl * klPerToken,
      kl: klPerToken,
      advantage: masked(advantages),
      returns: masked(returns),
      denormalized_values: masked(dropLast(values, cu)),
      avg_seq_len: mean(lengths),
      avg_prompt_len: mean(lengths) - tokens / n,
      n_tokens: tokens,
      n_seqs: n,
      no_eos_ratio: mean(truncated),
    },
  };
}

/** [ΣL] → [Σ(L−1)]. */
function dropLast(values: Float64Array, cu: Int32Array): Float64Array {
  const out: number[] = [];
  for (let s = 0; s + 1 < cu.length; s++)
    for (let t = cu[s]!; t < cu[s + 1]! - 1; t++) out.push(values[t]!);
  return Float64Array.from(out);
}

/** (A − μ) / (σ + 1e-5) over masked-in entries, biased variance; 0 elsewhere. */
export function normalizeMasked(x: Float64Array, mask: Uint8Array): Float64Array {
  const n = count(mask);
  if (n === 0) return new Float64Array(x.length);
  let sum = 0;
  for (let i = 0; i < x.length; i++) if (mask[i]) sum += x[i]!;
  const mu = sum / n;
  let squares = 0;
  for (let i = 0; i < x.length; i++) if (mask[i]) squares += (x[i]! - mu) ** 2;
  const std = Math.sqrt(squares / n);
  return x.map((v, i) => (mask[i] ? (v - mu) / (std + 1e-5) : 0));
}
