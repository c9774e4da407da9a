/**
 * Reallocation plan: which rank sends which elements to which rank so that a model laid out one way is laid out
 * another way (reference: 2.10). It knows intervals of the flat parameter space and nothing of layers, so any pp/dp/tp
 * goes to any other. Every element of a target is received exactly once: from the rank itself if it holds it, else
 * from the holder with the least to send so far. All ranks go through `transfers` in the order of the plan, which
 * can't deadlock even where a send waits for its receiver.
 */
import { ConfigError } from '@realhf/api';
import type { ShardMap } from '@realhf/api';
import { disjointRuns, findRun, sortedRuns } from './intervals.js';
import type { Run } from './intervals.js';

/** Copies between one segment and a message. */
export interface SegmentCopy {
  readonly segment: number;
  /** u32 [n, 3]: (source offset, destination offset, length) in elements, as `Ops.gatherIntervals` takes them. */
  readonly intervals: Uint32Array;
}

/** One message; `from === to` is a copy on that rank. */
export interface Transfer {
  readonly from: number;
  readonly to: number;
  /** Elements of the message. */
  readonly length: number;
  /** Source segments → message. */
  readonly gather: readonly SegmentCopy[];
  /** Message → target segments. */
  readonly scatter: readonly SegmentCopy[];
}

export interface ReallocPlan {
  readonly transfers: readonly Transfer[];
  /** Elements copied within a rank and sent between ranks. */
  readonly copied: number;
  readonly moved: number;
  /** Elements by rank, messages only. */
  readonly sent: readonly number[];
  readonly received: readonly number[];
}

export interface ReallocOptions {
  /** Rank, in the communicator that will run the plan, of each source map. Default 0, 1, 2, … */
  readonly sourceRanks?: readonly number[];
  readonly targetRanks?: readonly number[];
  /** Elements in a message at most. Default 4 Mi (16 MiB of f32). */
  readonly maxElements?: number;
  /** Elements that a receiver takes from one sender before it looks for a less busy one. Default 1 Mi. */
  readonly grain?: number;
}

/** A stretch on its way, in elements. */
interface Piece {
  readonly from: { readonly segment: number; readonly local: number };
  readonly to: { readonly segment: number; readonly local: number };
  readonly length: number;
}

/** Plans the way from one layout (a ShardMap per rank) to another. Throws ConfigError if a target needs what no source holds. */
export function planRealloc(
  source: readonly ShardMap[],
  target: readonly ShardMap[],
  options: ReallocOptions = {},
): ReallocPlan {
  const { maxElements = 1 << 22, grain = 1 << 20 } = options;
  const sourceRanks = ranks(source.length, options.sourceRanks, 'source');
  const targetRanks = ranks(target.length, options.targetRanks, 'target');
  if (maxElements < 1 || grain < 1)
    throw new ConfigError(`messages of ${maxElements} elements, grain ${grain}: both must be ≥ 1`);
  const world = Math.max(...sourceRanks, ...targetRanks, -1) + 1;
  const sent = new Array<number>(world).fill(0);
  const received = new Array<number>(world).fill(0);
  const holders = holdersOf(source, sourceRanks);

  let copied = 0;
  const transfers: Transfer[] = [];
  for (const [t, map] of target.entries()) {
    const to = targetRanks[t]!;
    const bySender = new Map<number, Piece[]>();
    for (const { from, piece } of route(map, to, holders, sent, grain)) {
      let pieces = bySender.get(from);
      if (pieces === undefined) bySender.set(from, (pieces = []));
      pieces.push(piece);
      if (from === to) copied += piece.length;
      else received[to]! += piece.length;
    }
    for (const [from, pieces] of bySender)
      for (const message of messages(pieces, maxElements))
        transfers.push({ from, to, ...pack(message) });
  }
  // Copies first; then rounds in which rank r sends to rank r + round, so that all ranks are busy.
  const round = (x: Transfer) => (x.to - x.from + world) % world;
  transfers.sort((x, y) => round(x) - round(y) || x.from - y.from);
  return { transfers, copied, moved: sent.reduce((a, b) => a + b, 0), sent, received };
}

interface Holder {
  readonly runs: readonly Run[];
  /** Ranks with these runs. */
  readonly ranks: number[];
  /** Where the last look-up ended. */
  at: number;
}

/** Data-parallel replicas share one map object: look their runs up once. */
function holdersOf(source: readonly ShardMap[], sourceRanks: readonly number[]): Holder[] {
  const byMap = new Map<ShardMap, Holder>();
  source.forEach((map, i) => {
    const known = byMap.get(map);
    if (known) known.ranks.push(sourceRanks[i]!);
    else byMap.set(map, { runs: disjointRuns(map), ranks: [sourceRanks[i]!], at: 0 });
  });
  return [...byMap.values()];
}

/** The holder's run that contains `global`. */
function covering(h: Holder, global: number): Run | undefined {
  const inside = (r: Run | undefined) =>
    r !== undefined && r.global <= global && global < r.global + r.length;
  if (!inside(h.runs[h.at]))
    h.at = inside(h.runs[h.at + 1]) ? h.at + 1 : Math.max(0, findRun(h.runs, global));
  return inside(h.runs[h.at]) ? h.runs[h.at] : undefined;
}

/** Where every element of one target map comes from, in the order of the flat space; counts into `sent`. */
function* route(
  map: ShardMap,
  to: number,
  holders: readonly Holder[],
  sent: number[],
  grain: number,
): Generator<{ from: number; piece: Piece }> {
  const own = holders.find((h) => h.ranks.includes(to));
  let current: { holder: Holder; rank: number; left: number } | undefined;
  for (const need of sortedRuns(map)) {
    const end = need.global + need.length;
    for (let g = need.global; g < end;) {
      let from = to;
      let stop = end;
      let run = own && covering(own, g);
      if (run === undefined) {
        // Not further than to where this rank has its own again.
        if (own) stop = Math.min(stop, own.runs[findRun(own.runs, g) + 1]?.global ?? stop);
        run = current && current.left > 0 ? covering(current.holder, g) : undefined;
        if (run === undefined || current === undefined) {
          current = leastBusy(holders, g, sent, grain);
          run = current && covering(current.holder, g);
        }
        if (run === undefined || current === undefined) throw missing(map, to, g);
        from = current.rank;
        stop = Math.min(stop, g + current.left);
      }
      const length = Math.min(stop, run.global + run.length) - g;
      if (from !== to) {
        sent[from]! += length;
        current!.left -= length;
      }
      yield {
        from,
        piece: {
          from: { segment: run.segment, local: run.local + g - run.global },
          to: { segment: need.segment, local: need.local + g - need.global },
          length,
        },
      };
      g += length;
    }
  }
}

function leastBusy(
  holders: readonly Holder[],
  global: number,
  sent: readonly number[],
  left: number,
) {
  let best: { holder: Holder; rank: number; left: number } | undefined;
  for (const holder of holders) {
    if (covering(holder, global) === undefined) continue;
    for (const rank of holder.ranks) {
      const less = best === undefined ? -1 : sent[rank]! - sent[best.rank]! || rank - best.rank;
      if (less < 0) best = { holder, rank, left };
    }
  }
  return best;
}

/** Cuts a list of pieces into lists of at most `max` elements. */
function* messages(pieces: readonly Piece[], max: number): Generator<Piece[]> {
  let message: Piece[] = [];
  let room = max;
  for (const p of pieces) {
    for (let done = 0; done < p.length;) {
      const length = Math.min(room, p.length - done);
      message.push({
        from: { segment: p.from.segment, local: p.from.local + done },
        to: { segment: p.to.segment, local: p.to.local + done },
        length,
      });
      done += length;
      room -= length;
      if (room === 0) {
        yield message;
        message = [];
        room = max;
      }
    }
  }
  if (message.length > 0) yield message;
}

/** Interval lists of one message; pieces that touch on a side are one interval there. */
function pack(pieces: readonly Piece[]): Pick<Transfer, 'length' | 'gather' | 'scatter'> {
  const gather = new Map<number, number[]>();
  const scatter = new Map<number, number[]>();
  let at = 0;
  for (const p of pieces) {
    extend(gather, p.from.segment, p.from.local, at, p.length);
    extend(scatter, p.to.segment, at, p.to.local, p.length);
    at += p.length;
  }
  const done = (m: Map<number, number[]>): SegmentCopy[] =>
    [...m].map(([segment, flat]) => ({ segment, intervals: Uint32Array.from(flat) }));
  return { length: at, gather: done(gather), scatter: done(scatter) };
}

function extend(
  lists: Map<number, number[]>,
  segment: number,
  src: number,
  dst: number,
  length: number,
): void {
  let list = lists.get(segment);
  if (list === undefined) lists.set(segment, (list = []));
  const n = list.length;
  const last = n > 0 ? list[n - 1]! : 0;
  const touches = (offset: number, at: number) => at - offset === last;
  if (n > 0 && touches(list[n - 3]!, src) && touches(list[n - 2]!, dst))
    list[n - 1] = last + length;
  else list.push(src, dst, length);
}

function ranks(count: number, given: readonly number[] | undefined, side: string): number[] {
  const list = given ? [...given] : Array.from({ length: count }, (_, i) => i);
  if (
    list.length !== count ||
    new Set(list).size !== count ||
    list.some((r) => !Number.isInteger(r) || r < 0)
  )
    throw new ConfigError(
      `${side} ranks ${list.join(', ')} for ${count} maps; give one different rank ≥ 0 per map`,
    );
  return list;
}

function missing(map: ShardMap, to: number, global: number): ConfigError {
  const hole = map.intervals.find((i) => i.global <= global && global < i.global + i.length);
  return new ConfigError(
    `rank ${to} needs element ${global} ('${hole?.param ?? '?'}'), which no source rank holds; are both layouts of one model?`,
  );
}
