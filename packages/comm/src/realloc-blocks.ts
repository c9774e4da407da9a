/**
 * Block lists of a reallocation plan: flat numbers, six per block, that a copy kernel runs over. Blocks all of whose
 * numbers are multiples of 4 are kept apart, since four elements are one load there.
 */
import { boxSize } from './realloc-cells.js';
import type { Box, Stored } from './realloc-cells.js';

/** Numbers of one block: source offset, destination offset, run, source stride, destination stride, count (elements; `count` runs). */
export const blockWords = 6;

/** Copies between one segment and a message. */
export interface SegmentCopy {
  readonly segment: number;
  /** Every number of every block but `count` is a multiple of 4. */
  readonly aligned: boolean;
  /** blockWords numbers per block; destinations don't overlap. */
  readonly blocks: readonly number[];
}

/** Copies from a source segment straight to a target segment of the same rank. */
export interface LocalCopy {
  readonly source: number;
  readonly target: number;
  readonly aligned: boolean;
  readonly blocks: readonly number[];
}

/** One side of a block: `count` runs, each `stride` after the one before. */
interface Place {
  readonly offset: number;
  readonly stride: number;
}

/** Where a part of a stored box begins. */
export function placeOf(stored: Stored, box: Box): Place {
  return {
    offset: stored.local + (box.r0 - stored.r0) * stored.stride + (box.c0 - stored.c0),
    stride: stored.stride,
  };
}

/** Whether a box can be copied four elements at a time between these places. */
export function isAligned(box: Box, places: readonly Place[]): boolean {
  if ((box.c1 - box.c0) % 4 !== 0) return false;
  const oneRow = box.r1 - box.r0 === 1;
  return places.every((p) => p.offset % 4 === 0 && (oneRow || p.stride % 4 === 0));
}

/** Adds a box to a list; runs that touch on both sides become one. */
export function addBlock(blocks: number[], box: Box, from: Place, to: Place): void {
  let run = box.c1 - box.c0;
  let count = box.r1 - box.r0;
  let [srcStride, dstStride] = [from.stride, to.stride];
  if (count === 1 || (srcStride === run && dstStride === run)) {
    run *= count;
    count = 1;
    srcStride = dstStride = run;
  }
  const n = blocks.length;
  if (count === 1 && n > 0 && blocks[n - 1] === 1) {
    const last = blocks[n - 4]!;
    if (blocks[n - 6]! + last === from.offset && blocks[n - 5]! + last === to.offset) {
      blocks[n - 4] = blocks[n - 3] = blocks[n - 2] = last + run;
      return;
    }
  }
  blocks.push(from.offset, to.offset, run, srcStride, dstStride, count);
}

/** Elements of a list. */
export function blockElements(blocks: readonly number[]): number {
  let n = 0;
  for (let i = 0; i < blocks.length; i += blockWords) n += blocks[i + 2]! * blocks[i + 5]!;
  return n;
}

/** Takes `n` elements off the front of a box (whole rows, then part of one): [taken, rest]. */
export function splitBox<T extends Box>(box: T, n: number): [T[], T[]] {
  if (n >= boxSize(box)) return [[box], []];
  if (n <= 0) return [[], [box]];
  const width = box.c1 - box.c0;
  const rows = Math.floor(n / width);
  const rest = n % width;
  const middle = box.r0 + rows;
  const taken: T[] = rows > 0 ? [{ ...box, r1: middle }] : [];
  if (rest === 0) return [taken, [{ ...box, r0: middle }]];
  taken.push({ ...box, r0: middle, r1: middle + 1, c1: box.c0 + rest });
  const left: T[] = [{ ...box, r0: middle, r1: middle + 1, c0: box.c0 + rest }];
  if (middle + 1 < box.r1) left.push({ ...box, r0: middle + 1 });
  return [taken, left];
}
