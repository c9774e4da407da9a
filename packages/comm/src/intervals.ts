/**
 * Strided intervals of a ShardMap: `count` runs of `run` elements, the first at `global` of the logical flat parameter
 * space, each next one `stride` further, stored one after another from `local` of a segment. A row-parallel matrix is one
 * of these instead of one interval per row.
 */
import { ConfigError } from '@realhf/api';
import type { ShardInterval, ShardMap } from '@realhf/api';

/** All in elements. */
export interface StridedInterval {
  readonly param: string;
  readonly global: number;
  readonly segment: number;
  readonly local: number;
  readonly run: number;
  /** From one run to the next in the flat space; equals `run` when count is 1. */
  readonly stride: number;
  readonly count: number;
}

/** A ShardMap in this form. */
export interface StridedMap {
  readonly intervals: readonly StridedInterval[];
  /** Elements per segment. */
  readonly segmentSizes: readonly number[];
}

type Growing = { -readonly [K in keyof StridedInterval]: StridedInterval[K] };

/** The same map, its intervals in their order; what continues in both spaces is one run. */
export function stridedMap(map: ShardMap): StridedMap {
  const out: Growing[] = [];
  let last: Growing | undefined;
  for (const i of map.intervals) {
    if (i.length === 0) continue;
    if (last?.param === i.param && last.segment === i.segment && grow(last, i)) continue;
    last = {
      param: i.param,
      global: i.global,
      segment: i.segment,
      local: i.local,
      run: i.length,
      stride: i.length,
      count: 1,
    };
    out.push(last);
  }
  return { intervals: out, segmentSizes: map.segmentSizes };
}

/** The other way: an interval per run. */
export function shardMapOf({ intervals, segmentSizes }: StridedMap): ShardMap {
  return {
    segmentSizes,
    intervals: intervals.flatMap(({ param, global, segment, local, run, stride, count }) =>
      Array.from({ length: count }, (_, k) => ({
        param,
        global: global + k * stride,
        segment,
        local: local + k * run,
        length: run,
      })),
    ),
  };
}

/** Takes the interval in if it is the next run (or, of a single run, its continuation). */
function grow(last: Growing, i: ShardInterval): boolean {
  if (last.local + last.run * last.count !== i.local) return false;
  const step = i.global - (last.global + last.stride * (last.count - 1));
  if (last.count === 1 && step === last.run) {
    last.run += i.length;
    last.stride = last.run;
    return true;
  }
  if (i.length !== last.run || step <= last.run) return false;
  if (last.count > 1 && step !== last.stride) return false;
  last.stride = step;
  last.count++;
  return true;
}

/** Throws ConfigError on an interval outside its segment. */
export function checkIntervals({ intervals, segmentSizes }: StridedMap): void {
  for (const { param, segment, local, run, count } of intervals) {
    const size = segmentSizes[segment];
    const end = local + run * count;
    if (size === undefined || local < 0 || end > size)
      throw new ConfigError(
        `interval of '${param}' ends at ${end} of segment ${segment}, which has ${size ?? 'no'} elements`,
      );
  }
}
