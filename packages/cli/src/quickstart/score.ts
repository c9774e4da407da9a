/**
 * Scores of generated text that training never sees: VADER sentiment (Hutto & Gilbert 2014), the share of distinct
 * n-grams (Li et al. 2016), and a paired bootstrap (Efron 1979) for the gain on the same prompts. Score continuations
 * without their prompts: a prompt is the same before and after, and only dilutes the difference.
 */
import { ConfigError } from '@realhf/api';
import { SentimentIntensityAnalyzer } from 'vader-sentiment';

/** VADER compound of a text: -1 (most negative) to 1 (most positive), 0 for text without listed words. */
export function vaderScore(text: string): number {
  return text.trim() === '' ? 0 : SentimentIntensityAnalyzer.polarity_scores(text).compound;
}

/** Lower-case words of a text, apostrophes kept inside. */
function words(text: string): string[] {
  return text.toLowerCase().match(/[a-z]+(?:'[a-z]+)*/g) ?? [];
}

/** Distinct word n-grams over all n-grams of all texts, 0 to 1; 1 when no text has n words. */
export function distinctNgrams(texts: readonly string[], n: number): number {
  if (!Number.isInteger(n) || n < 1) {
    throw new ConfigError(
      `distinctNgrams asked for n = ${n}; pass a whole number of words, 1 or more`,
    );
  }
  const seen = new Set<string>();
  let total = 0;
  for (const text of texts) {
    const list = words(text);
    for (let i = 0; i + n <= list.length; i++) {
      seen.add(list.slice(i, i + n).join(' '));
      total++;
    }
  }
  return total === 0 ? 1 : seen.size / total;
}

/** Mean gain and the bounds of its 95 % interval. */
export interface Gain {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
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

/**
 * Mean of `after[i] - before[i]` with its 95 % percentile interval over resampled pairs. The same seed gives the same
 * interval. Throws ConfigError when the lists differ in length or are empty.
 */
export function pairedBootstrap(
  before: readonly number[],
  after: readonly number[],
  options: { readonly seed: number; readonly resamples: number },
): Gain {
  const n = before.length;
  if (
    n === 0 ||
    after.length !== n ||
    !Number.isInteger(options.resamples) ||
    options.resamples < 1
  ) {
    throw new ConfigError(
      `pairedBootstrap got ${n} scores before, ${after.length} after and ${options.resamples} resamples; ` +
        'pass one score per prompt before and after, and at least one resample',
    );
  }
  const gains = before.map((b, i) => after[i]! - b);
  const random = uniform(options.seed);
  const means = new Float64Array(options.resamples);
  for (let r = 0; r < means.length; r++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += gains[Math.floor(random() * n)]!;
    means[r] = sum / n;
  }
  means.sort();
  const at = (q: number): number => means[Math.round(q * (means.length - 1))]!;
  return { mean: gains.reduce((a, b) => a + b, 0) / n, low: at(0.025), high: at(0.975) };
}
