/** Stats of several ranks or calls as one. */
import type { Stats } from '@realhf/api';

/** Means over those that have the name, weighted (default: equally); sums for names that end in `_sum`. */
export function mergeStats(all: readonly Stats[], weights?: readonly number[]): Stats {
  const merged: Stats = {};
  for (const name of new Set(all.flatMap((s) => Object.keys(s)))) {
    const isSum = name.endsWith('_sum');
    let sum = 0;
    let total = 0;
    all.forEach((stats, i) => {
      const value = stats[name];
      if (value === undefined) return;
      const weight = isSum ? 1 : (weights?.[i] ?? 1);
      sum += weight * value;
      total += weight;
    });
    merged[name] = isSum ? sum : sum / total;
  }
  return merged;
}
