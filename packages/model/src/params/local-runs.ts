/**
 * A rank's place for a run of a parameter's elements: which of them it holds and where, as few contiguous writes. A
 * row-parallel shard takes a few columns of every row, which lie one after the other in its storage.
 */
import type { ShardInterval } from '@realhf/api';

/** Values for `segment` from element `offset` on. */
export interface LocalRun {
  readonly segment: number;
  readonly offset: number;
  readonly values: Float32Array;
}

/**
 * What a rank keeps of a parameter's elements begin ≤ i < end, run by run; `values` gives any of them. `intervals` are the
 * parameter's, in the order of the rank's storage; `base` is the parameter's offset in the flat space.
 */
export function* localRuns(
  intervals: readonly ShardInterval[],
  base: number,
  [begin, end]: ElementRange,
  values: (begin: number, end: number) => Float32Array,
): Generator<LocalRun, void> {
  const pieces = intervals.flatMap((i) => {
    const first = Math.max(i.global - base, begin);
    const last = Math.min(i.global - base + i.length, end);
    const offset = i.local + first - (i.global - base);
    return first < last ? [{ segment: i.segment, offset, first, last }] : [];
  });
  for (let from = 0; from < pieces.length;) {
    const head = pieces[from]!;
    let to = from;
    let size = 0;
    while (pieces[to]?.segment === head.segment && pieces[to]!.offset === head.offset + size) {
      size += pieces[to]!.last - pieces[to]!.first;
      to++;
    }
    let run: Float32Array;
    if (to === from + 1) run = values(head.first, head.last);
    else {
      run = new Float32Array(size);
      for (const p of pieces.slice(from, to))
        run.set(values(p.first, p.last), p.offset - head.offset);
    }
    yield { segment: head.segment, offset: head.offset, values: run };
    from = to;
  }
}

/** Elements begin ≤ i < end of a parameter. */
export type ElementRange = readonly [begin: number, end: number];

/** The elements of a parameter that a rank holds, ascending; gaps below `gap` elements are closed: read, not skipped. */
export function heldRanges(
  intervals: readonly ShardInterval[],
  base: number,
  gap = 2 ** 16,
): ElementRange[] {
  const ranges: [number, number][] = [];
  for (const { global, length } of [...intervals].sort((a, b) => a.global - b.global)) {
    const last = ranges.at(-1);
    const end = global - base + length;
    if (last && global - base - last[1] < gap) last[1] = Math.max(last[1], end);
    else ranges.push([global - base, end]);
  }
  return ranges;
}
