/**
 * Interval algebra on ShardMaps. A run says: elements [global, global + length) of the logical flat parameter space
 * lie at [local, local + length) of one segment of a rank. A ShardMap may list its intervals in any order; here they
 * are sorted by `global`, disjoint, and as long as they can be.
 */
import { ConfigError } from '@realhf/api';
import type { ShardMap } from '@realhf/api';

/** All in elements. */
export interface Run {
  readonly global: number;
  readonly segment: number;
  readonly local: number;
  readonly length: number;
}

/** A stretch of the flat space that two maps hold, and where each keeps it. */
export interface SharedRun {
  readonly global: number;
  readonly length: number;
  readonly a: { readonly segment: number; readonly local: number };
  readonly b: { readonly segment: number; readonly local: number };
}

/** Elements of all runs. */
export function totalElements(runs: readonly { readonly length: number }[]): number {
  let n = 0;
  for (const r of runs) n += r.length;
  return n;
}

/** Joins runs that continue each other in both spaces; order is kept. */
export function mergeAdjacent(runs: readonly Run[]): Run[] {
  const out: Run[] = [];
  for (const r of runs) {
    if (r.length === 0) continue;
    const last = out.at(-1);
    if (
      last?.segment === r.segment &&
      last.global + last.length === r.global &&
      last.local + last.length === r.local
    )
      out[out.length - 1] = { ...last, length: last.length + r.length };
    else out.push({ global: r.global, segment: r.segment, local: r.local, length: r.length });
  }
  return out;
}

/** A map as sorted, merged runs; overlapping ones are kept as they are. Throws ConfigError on an interval outside its segment. */
export function sortedRuns(map: ShardMap): Run[] {
  for (const r of map.intervals) {
    const size = map.segmentSizes[r.segment];
    if (size === undefined || r.local < 0 || r.length < 0 || r.local + r.length > size)
      throw new ConfigError(
        `interval of '${r.param}' ends at ${r.local + r.length} of segment ${r.segment}, which has ${size ?? 'no'} elements`,
      );
  }
  return mergeAdjacent([...map.intervals].sort((x, y) => x.global - y.global));
}

/** Sorted runs that hold nothing twice: of elements that a rank stores in two places, the first place is kept. */
export function disjointRuns(map: ShardMap): Run[] {
  const out: Run[] = [];
  let covered = 0;
  for (const r of sortedRuns(map)) {
    const skip = Math.max(0, covered - r.global);
    if (skip >= r.length) continue;
    out.push({ ...r, global: r.global + skip, local: r.local + skip, length: r.length - skip });
    covered = r.global + r.length;
  }
  return out;
}

/** What two sorted, disjoint lists of runs have in common, by `global`. */
export function intersectRuns(a: readonly Run[], b: readonly Run[]): SharedRun[] {
  const out: SharedRun[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const x = a[i]!;
    const y = b[j]!;
    const global = Math.max(x.global, y.global);
    const end = Math.min(x.global + x.length, y.global + y.length);
    if (global < end)
      out.push({
        global,
        length: end - global,
        a: { segment: x.segment, local: x.local + global - x.global },
        b: { segment: y.segment, local: y.local + global - y.global },
      });
    if (x.global + x.length <= y.global + y.length) i++;
    else j++;
  }
  return out;
}

/** What two ranks both hold. */
export function intersect(a: ShardMap, b: ShardMap): SharedRun[] {
  return intersectRuns(disjointRuns(a), disjointRuns(b));
}

/** Index of the last run that begins at or before `global`; −1 if none. `runs` are sorted. */
export function findRun(runs: readonly Run[], global: number): number {
  let lo = -1;
  let hi = runs.length - 1;
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1;
    if (runs[mid]!.global <= global) lo = mid;
    else hi = mid - 1;
  }
  return lo;
}
