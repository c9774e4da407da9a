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

type Growing = { -readonly [K in keyof StridedInterval]: StridedInterval[K] };

/**
 * A map as strided intervals, in the order in which it lists its intervals; what continues in both spaces is one run.
 * Throws ConfigError on an interval outside its segment.
 */
export function stridedIntervals(map: ShardMap): StridedInterval[] {
  const out: Growing[] = [];
  let last: Growing | undefined;
  for (const i of map.intervals) {
    check(map, i);
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
  return out;
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

function check(map: ShardMap, i: ShardInterval): void {
  const size = map.segmentSizes[i.segment];
  if (size === undefined || i.local < 0 || i.length < 0 || i.local + i.length > size)
    throw new ConfigError(
      `interval of '${i.param}' ends at ${i.local + i.length} of segment ${i.segment}, which has ${size ?? 'no'} elements`,
    );
}
