/**
 * Scores of generated text that training never sees: VADER sentiment (Hutto & Gilbert 2014) and the share of distinct
 * n-grams (Li et al. 2016). Score continuations without their prompts: a prompt is the same before and after, and only
 * dilutes the difference.
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
