/**
 * Token-budget parts: contiguous runs of items with at most `maxTokens` tokens each, as equal as they can be. An item
 * above the budget fits nowhere and stays alone (but for empty items). The number of parts does not depend on
 * anything but the sizes, so ranks that see the same sizes agree on it.
 */
import { DataError } from '@realhf/api';
import { partitionBalanced } from './partition.js';
import type { Part } from './partition.js';

/** How many parts, and how many tokens one may have. */
export interface TokenBudget {
  /** Parts wanted at least; fewer only if there are fewer items. Default 1. */
  readonly nMbs?: number;
  /** Tokens in a part at most. Default: no bound. */
  readonly maxTokens?: number;
}

/** Fewest parts that keep the budget; at least nMbs, at most n. */
export function countParts(sizes: ArrayLike<number>, budget: TokenBudget = {}): number {
  const { nMbs = 1, maxTokens = Infinity } = budget;
  if (!Number.isInteger(nMbs) || nMbs < 1 || Number.isNaN(maxTokens) || maxTokens < 1)
    throw new DataError(
      `${nMbs} microbatches of at most ${maxTokens} tokens asked; both must be at least 1, the number whole`,
    );
  let parts = 0;
  let room = -1;
  for (const whole of Array.from(sizes)) {
    const size = Math.min(whole, maxTokens);
    if (room < size) {
      parts++;
      room = maxTokens;
    }
    room -= size;
  }
  return Math.min(Math.max(parts, nMbs), sizes.length);
}

/** Contiguous parts within the budget, their totals as equal as possible for that number of parts. Empty for no items. */
export function tokenBudgetParts(sizes: ArrayLike<number>, budget: TokenBudget = {}): Part[] {
  const parts = countParts(sizes, budget);
  if (parts === 0) return [];
  const maxTokens = Math.floor(budget.maxTokens ?? Infinity);
  // An item above the budget counts as one that fills it: it then can't share a part.
  return partitionBalanced(
    Array.from(sizes, (s) => Math.min(s, maxTokens)),
    parts,
    { maxSum: maxTokens },
  );
}
