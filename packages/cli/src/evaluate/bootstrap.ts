/**
 * 95 % intervals of means by the percentile bootstrap (Efron 1979): prompts are drawn again with replacement, so what is
 * said holds for prompts of this kind and not for these prompts only. The same seed gives the same interval.
 */
import { ConfigError } from '@realhf/api';

/** A mean and the bounds of its 95 % interval. */
export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

export interface BootstrapOptions {
  readonly seed: number;
  readonly resamples: number;
}

/** Uniform numbers in [0, 1) from a 32-bit seed (mulberry32). */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Of one number per prompt. Throws ConfigError without numbers or resamples. */
export function bootstrapMean(values: readonly number[], options: BootstrapOptions): Interval {
  return bootstrapRatio(
    values,
    values.map(() => 1),
    options,
  );
}

/** Σ numerators / Σ denominators, one of each per prompt: a mean per token. Throws ConfigError without numbers or resamples. */
export function bootstrapRatio(
  numerators: readonly number[],
  denominators: readonly number[],
  options: BootstrapOptions,
): Interval {
  const n = numerators.length;
  if (n === 0 || !Number.isInteger(options.resamples) || options.resamples < 1)
    throw new ConfigError(
      `a bootstrap got ${n} numbers and ${options.resamples} resamples; pass at least one of each`,
    );
  const random = uniform(options.seed);
  const ratios = new Float64Array(options.resamples);
  for (let r = 0; r < ratios.length; r++) {
    let above = 0;
    let below = 0;
    for (let i = 0; i < n; i++) {
      const k = Math.floor(random() * n);
      above += numerators[k]!;
      below += denominators[k]!;
    }
    ratios[r] = above / below;
  }
  ratios.sort();
  const at = (q: number): number => ratios[Math.round(q * (ratios.length - 1))]!;
  const sum = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0);
  return { mean: sum(numerators) / sum(denominators), low: at(0.025), high: at(0.975) };
}

/** Mean of `after[i] - before[i]`, pairs drawn together. Throws ConfigError when the lists differ in length or are empty. */
export function pairedBootstrap(
  before: readonly number[],
  after: readonly number[],
  options: BootstrapOptions,
): Interval {
  if (before.length === 0 || after.length !== before.length)
    throw new ConfigError(
      `pairedBootstrap got ${before.length} scores before and ${after.length} after; pass one per prompt each`,
    );
  return bootstrapMean(
    before.map((b, i) => after[i]! - b),
    options,
  );
}
