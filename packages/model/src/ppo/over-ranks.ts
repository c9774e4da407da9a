/**
 * PPO's statistics of a batch whose parts are on data-parallel ranks: advantages normalised over all of it, returns and
 * KL of all of it, stats as one rank with the whole batch would give them. On one rank nothing changes, bit for bit.
 */
import { SequenceSample, type Engine } from '@realhf/api';

import { count } from '../losses/masks.js';
import { normalizeMasked, type PreparedPpo } from './prepare.js';

export interface WholeBatch {
  readonly prepared: PreparedPpo;
  /** Of the answer tokens. */
  readonly returns: { readonly n: number; readonly sum: number; readonly squares: number };
  readonly nSeqs: number;
}

/** Stats that are means over sequences, and sums; all others are means over answer tokens. */
const perSequence = new Set(['task_reward', 'avg_seq_len', 'avg_prompt_len', 'no_eos_ratio']);
const sums = new Set(['n_tokens', 'n_seqs']);

/** Collective over the data-parallel ranks of `engine`. */
export async function overRanks(
  engine: Pick<Engine, 'overData'>,
  own: PreparedPpo,
  advNorm: boolean,
): Promise<WholeBatch> {
  const returns = moments(own.returns, own.mask);
  const nSeqs = own.sample.bs;
  const names = Object.keys(own.stats);
  const weightOf = (name: string) =>
    sums.has(name) ? 1 : perSequence.has(name) ? nSeqs : returns.n;
  const totals = Float64Array.of(
    returns.n,
    nSeqs,
    returns.sum,
    returns.squares,
    own.klPerSequence * nSeqs,
    ...names.map((name) => own.stats[name]! * weightOf(name)),
  );
  await engine.overData?.(totals, 'sum');
  const [n = 0, seqs = 0, sum = 0, squares = 0, kl = 0, ...rest] = totals;
  // One rank: no multiplying and dividing again.
  if (engine.overData === undefined || seqs === nSeqs) return { prepared: own, returns, nSeqs };
  const stats = names.map((name, i) => {
    const weight = sums.has(name) ? 1 : perSequence.has(name) ? seqs : n;
    return [name, rest[i]! / Math.max(1, weight)] as const;
  });
  const sample = advNorm
    ? await normalizedOverRanks(engine, own.sample, own.advantages, own.policyMask)
    : own.sample;
  return {
    prepared: { ...own, sample, klPerSequence: kl / seqs, stats: Object.fromEntries(stats) },
    returns: { n, sum, squares },
    nSeqs: seqs,
  };
}

function moments(values: Float64Array, mask: Uint8Array) {
  let sum = 0;
  let squares = 0;
  values.forEach((v, i) => {
    if (!mask[i]) return;
    sum += v;
    squares += v ** 2;
  });
  return { n: count(mask), sum, squares };
}

/** `sample` with `normalizeMasked` advantages, mean and deviation over all ranks. Collective. */
export async function normalizedOverRanks(
  engine: Pick<Engine, 'overData'>,
  sample: SequenceSample,
  advantages: Float64Array,
  mask: Uint8Array,
): Promise<SequenceSample> {
  const first = Float64Array.of(count(mask), moments(advantages, mask).sum);
  await engine.overData?.(first, 'sum');
  const [n = 0, sum = 0] = first;
  const mu = sum / Math.max(1, n);
  const spread = Float64Array.of(
    moments(
      advantages.map((a) => a - mu),
      mask,
    ).squares,
  );
  await engine.overData?.(spread, 'sum');
  const deviation = Math.sqrt(spread[0]! / Math.max(1, n));
  const values = normalizeMasked(advantages, mask, { mu, deviation });
  const { ids, seqlens, dtypes, trailingShapes, metadata } = sample;
  const data = { ...sample.data, advantages: Float32Array.from(values) };
  return new SequenceSample({ ids, seqlens, dtypes, trailingShapes, metadata, data });
}
