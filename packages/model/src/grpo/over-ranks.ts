/**
 * Statistics of a batch of groups whose parts are on data-parallel ranks: what one rank with the whole batch would
 * reckon with and show. On one rank nothing changes, bit for bit.
 */
import type { Engine, SequenceSample, Stats } from '@realhf/api';

import { normalizedOverRanks } from '../ppo/over-ranks.js';

type Ranks = Pick<Engine, 'overData'>;

const sums = new Set(['n_tokens', 'n_seqs']);
const perToken = new Set(['kl', 'valid_vocab_ratio']);

/** Stats of this rank's answers, with `n_tokens` and `n_seqs` among them, as those of all ranks. Collective. */
export async function statsOverRanks(engine: Ranks, own: Stats): Promise<Stats> {
  const names = Object.keys(own);
  const weightOf = (name: string, of: Stats) =>
    sums.has(name) ? 1 : perToken.has(name) ? of.n_tokens! : of.n_seqs!;
  const totals = Float64Array.from(names, (name) => own[name]! * weightOf(name, own));
  await engine.overData?.(totals, 'sum');
  const all = Object.fromEntries(names.map((name, i) => [name, totals[i]!]));
  if (all.n_seqs === own.n_seqs) return own;
  return Object.fromEntries(
    names.map((name) => [name, all[name]! / Math.max(1, weightOf(name, all))]),
  );
}

/** Mean and deviation (of a sample: n − 1) of scores over all ranks; undefined where one rank has them all. Collective. */
export async function scoresOverRanks(
  engine: Ranks,
  scores: Float32Array,
): Promise<{ readonly mean: number; readonly std: number } | undefined> {
  const first = Float64Array.of(
    scores.length,
    scores.reduce((a, b) => a + b, 0),
  );
  await engine.overData?.(first, 'sum');
  const [n = 0, sum = 0] = first;
  if (n === scores.length) return undefined;
  const mean = sum / n;
  const squares = Float64Array.of(scores.reduce((a, x) => a + (x - mean) ** 2, 0));
  await engine.overData?.(squares, 'sum');
  return { mean, std: Math.sqrt(squares[0]! / (n - 1)) };
}

/** Advantages whitened over all ranks. Collective. */
export function whitenedOverRanks(engine: Ranks, sample: SequenceSample): Promise<SequenceSample> {
  const advantages = Float64Array.from(sample.f32('advantages'));
  return normalizedOverRanks(engine, sample, advantages, sample.u8('ppo_loss_mask'));
}
