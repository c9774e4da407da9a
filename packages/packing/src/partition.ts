/**
 * Balanced contiguous partition: k parts of a list with the smallest possible difference between the largest and
 * the smallest part sum (reference: 2.6, whose dynamic program keeps one state per cell and can miss it).
 * Exact: the largest sum is swept upwards; for each value the question "are there k parts in [low, high] that beat
 * the best so far?" is answered by reachability, and a no says how far the sweep may jump.
 */
import { DataError } from '@realhf/api';
import { CutSearch } from './cut-search.js';

/** Items start ≤ i < end. */
export type Part = readonly [start: number, end: number];

/** Bounds of the parts. */
export interface PartitionOptions {
  /** Items in a part at least. Default 1. */
  readonly minSize?: number;
  /** No part sum may exceed it. Default: no bound. */
  readonly maxSum?: number;
}

/**
 * Cuts `sizes` (whole numbers ≥ 0) into k contiguous parts so that (largest − smallest part sum) is minimal.
 * The same input gives the same cuts. Throws DataError if there are fewer than k·minSize items, on a size that
 * is not a whole number ≥ 0, or if `maxSum` can't be kept.
 */
export function partitionBalanced(
  sizes: ArrayLike<number>,
  k: number,
  options: PartitionOptions = {},
): Part[] {
  const { minSize = 1, maxSum = Infinity } = options;
  const n = sizes.length;
  if (!Number.isInteger(k) || k < 1 || !Number.isInteger(minSize) || minSize < 1)
    throw new DataError(
      `${k} parts of at least ${minSize} items asked; both must be whole and ≥ 1`,
    );
  if (n < k * minSize)
    throw new DataError(
      `${n} items can't make ${k} parts of at least ${minSize} each; ask for at most ${Math.floor(n / minSize)} parts`,
    );
  const prefix = runningTotals(sizes);
  const search = new CutSearch(prefix, k, minSize);
  const [low, high] = bestWindow(search, prefix[n]!, k, Math.min(maxSum, prefix[n]!));
  search.reach(low, high);
  let start = 0;
  return search.ends(low, high).map((end) => {
    const part: Part = [start, end];
    start = end;
    return part;
  });
}

function runningTotals(sizes: ArrayLike<number>): Float64Array {
  const prefix = new Float64Array(sizes.length + 1);
  for (let i = 0; i < sizes.length; i++) {
    const size = sizes[i]!;
    const total = prefix[i]! + size;
    if (!Number.isInteger(size) || size < 0 || total > Number.MAX_SAFE_INTEGER)
      throw new DataError(
        `size ${size} of item ${i} is not a whole number ≥ 0 (or the total > 2⁵³)`,
      );
    prefix[i + 1] = total;
  }
  return prefix;
}

/** [smallest, largest] part sum of an optimal partition. */
function bestWindow(search: CutSearch, total: number, k: number, cap: number): [number, number] {
  if (!search.reach(0, cap))
    throw new DataError(
      `no ${k} parts of at most ${cap} each in a total of ${total}; raise the bound or the number of parts`,
    );
  const lowestHigh = smallest(0, cap, (high) => search.reach(0, high));
  const highestLow = largest(0, lowestHigh, (low) => search.reach(low, cap));
  const least = Math.max(lowestHigh - highestLow, total % k === 0 ? 0 : 1);
  const maxLow = (high: number, from: number) =>
    largest(from, Math.min(high, highestLow), (low) => search.reach(low, high));

  let high = lowestHigh;
  let window: [number, number] = [maxLow(high, 0), high];
  let best = high - window[0];
  if (best > least) {
    const other = smallest(lowestHigh, cap, (h) => search.reach(highestLow, h));
    if (other - highestLow < best) {
      window = [highestLow, other];
      best = other - highestLow;
    }
  }
  // Partitions whose largest sum is below `high` have been beaten already, so only those that reach it count.
  while (best > least && high <= cap) {
    const low = Math.max(0, high - best + 1);
    if (low > highestLow || k * high > total + (k - 1) * (best - 1)) break;
    if (search.reach(low, high)) {
      window = [maxLow(high, low), high];
      best = high - window[0];
    } else {
      high = search.nextHigh;
    }
  }
  return window;
}

/** Smallest x in [lo, hi] for which `ok` holds; it holds at hi and, once it holds, above. */
function smallest(lo: number, hi: number, ok: (x: number) => boolean): number {
  while (lo < hi) {
    const mid = lo + Math.floor((hi - lo) / 2);
    if (ok(mid)) hi = mid;
    else lo = mid + 1;
  }
  return lo;
}

/** Largest x in [lo, hi] for which `ok` holds; it holds at lo and, once it fails, fails above. */
function largest(lo: number, hi: number, ok: (x: number) => boolean): number {
  while (lo < hi) {
    const mid = hi - Math.floor((hi - lo) / 2);
    if (ok(mid)) lo = mid;
    else hi = mid - 1;
  }
  return lo;
}
