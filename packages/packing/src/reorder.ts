/**
 * Reorders items so that batches cut from the front have about equal totals (reference: 2.7). Longest first; each
 * item goes to the batch with the smallest total that is not full, the first one on ties. A heap of batches makes
 * this O(n log n) instead of O(n · batches).
 */
import { DataError } from '@realhf/api';

/** An order of items and how evenly its batches are filled. */
export interface ReorderedBatches {
  /** i32 [n]: a permutation of the items, batch after batch, largest total first. Batches need not be equally full when perBatch does not divide n. */
  readonly indices: Int32Array;
  /** i32 [batches + 1]: where each batch begins in `indices`. */
  readonly offsets: Int32Array;
  /** Largest minus smallest batch total. */
  readonly maxDiff: number;
}

/** ⌈n / perBatch⌉ batches of at most `perBatch` items with near-equal totals of `sizes` (≥ 0). Throws DataError if perBatch is not a count. */
export function reorderToBalancedBatches(
  sizes: ArrayLike<number>,
  perBatch: number,
): ReorderedBatches {
  if (!Number.isInteger(perBatch) || perBatch < 1)
    throw new DataError(`${perBatch} items per batch asked; it must be whole and ≥ 1`);
  const n = sizes.length;
  const batches = Math.ceil(n / perBatch);
  const totals = new Float64Array(batches);
  const counts = new Int32Array(batches);
  const batchOf = new Int32Array(n);
  const order = descending(sizes, n);
  const heap = Int32Array.from({ length: batches }, (_, i) => i);
  let live = batches;
  for (const item of order) {
    const batch = heap[0]!;
    batchOf[item] = batch;
    totals[batch]! += sizes[item]!;
    const count = counts[batch]! + 1;
    counts[batch] = count;
    if (count === perBatch) heap[0] = heap[--live]!;
    siftDown(heap, live, totals);
  }

  const emitted = descending(totals, batches);
  const offsets = new Int32Array(batches + 1);
  const next = new Int32Array(batches);
  emitted.forEach((batch, i) => {
    next[batch] = offsets[i]!;
    offsets[i + 1] = offsets[i]! + counts[batch]!;
  });
  const indices = new Int32Array(n);
  for (const item of order) indices[next[batchOf[item]!]!++] = item;
  const maxDiff = n === 0 ? 0 : totals[emitted[0]!]! - totals[emitted[batches - 1]!]!;
  return { indices, offsets, maxDiff };
}

/** Indices by descending value, equal values in their order. */
function descending(values: ArrayLike<number>, n: number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  return order.sort((a, b) => values[b]! - values[a]! || a - b);
}

/** Restores a min-heap of batches by (total, batch) whose root has grown. */
function siftDown(heap: Int32Array, live: number, totals: Float64Array): void {
  const before = (a: number, b: number) => {
    const difference = totals[a]! - totals[b]!;
    return difference < 0 || (difference === 0 && a < b);
  };
  for (let i = 0; ;) {
    const left = 2 * i + 1;
    if (left >= live) return;
    const right = left + 1;
    const child = right < live && before(heap[right]!, heap[left]!) ? right : left;
    if (!before(heap[child]!, heap[i]!)) return;
    const moved = heap[i]!;
    heap[i] = heap[child]!;
    heap[child] = moved;
    i = child;
  }
}
