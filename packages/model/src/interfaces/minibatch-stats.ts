import type { Stats } from '@realhf/api';

/** Mean over minibatches of each stat. */
export function averageStats(parts: readonly Stats[]): Stats {
  const names = new Set(parts.flatMap((p) => Object.keys(p)));
  return Object.fromEntries(
    [...names].map((n) => [n, parts.reduce((s, p) => s + (p[n] ?? 0), 0) / parts.length]),
  );
}
