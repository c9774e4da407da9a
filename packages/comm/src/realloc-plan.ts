/**
 * Reallocation plan: which rank sends which elements to which ranks so that a model laid out one way is laid out another
 * way (reference: 2.10). It knows strided intervals of the flat parameter space and nothing of layers, so any pp/dp/tp
 * goes to any other. A target takes what its rank holds already by a local copy; the rest comes from a holder on its
 * node if there is one, else from any, shared out so that the busiest sender has the least possible to send. What several
 * ranks lack alike is one message along a chain of them, which enters every node once. Pure and deterministic: every rank
 * makes the same plan from the same maps.
 */
import { ConfigError } from '@realhf/api';
import type { StridedMap } from './intervals.js';
import { addBlock, isAligned, placeOf } from './realloc-blocks.js';
import type { LocalCopy, SegmentCopy } from './realloc-blocks.js';
import { boxSize, cellsOf } from './realloc-cells.js';
import type { Cell, Stored } from './realloc-cells.js';
import { assign, byMaps, chainOf, cut, list, routesOf, side, total } from './realloc-routes.js';
import type { Need, Side } from './realloc-routes.js';

/** One message: `from` gathers and sends to `to[0]`, every receiver passes it on to the next and scatters it. */
export interface Transfer {
  readonly from: number;
  /** Receivers in the order of the chain. */
  readonly to: readonly number[];
  /** Elements of the message. */
  readonly length: number;
  /** Source segments of `from` → message. */
  readonly gather: readonly SegmentCopy[];
  /** Message → target segments; receivers with one layout share an entry. */
  readonly scatter: readonly {
    readonly ranks: readonly number[];
    readonly copies: readonly SegmentCopy[];
  }[];
}

/** Pure data: JSON there and back changes nothing. All counts in elements. */
export interface ReallocPlan {
  /** In the order in which all ranks go through them. */
  readonly transfers: readonly Transfer[];
  /** What ranks copy from their own source to their own target. */
  readonly locals: readonly { readonly rank: number; readonly copies: readonly LocalCopy[] }[];
  /** Segment sizes by rank of the plan; empty where a rank is not on that side. */
  readonly sourceSegments: readonly (readonly number[])[];
  readonly targetSegments: readonly (readonly number[])[];
  /** Copied within ranks; received by ranks from others, all of it and the part that came from another node. */
  readonly copied: number;
  readonly moved: number;
  readonly crossNode: number;
  /** By rank: first sent of own parameters, passed on for others, received. */
  readonly sent: readonly number[];
  readonly relayed: readonly number[];
  readonly received: readonly number[];
}

/** Where the maps' ranks are and how transfers are cut. */
export interface ReallocOptions {
  /** Rank, in the communicator that will run the plan, of each source map. Default 0, 1, 2, … */
  readonly sourceRanks?: readonly number[];
  readonly targetRanks?: readonly number[];
  /** Node of a rank. Default: all on one. */
  readonly nodeOf?: (rank: number) => number;
  /** Elements in a message at most. Default 4 Mi (16 MiB of f32). */
  readonly maxElements?: number;
  /** Parameters that keep what the target has, e.g. a critic's head that starts from an actor. */
  readonly skip?: readonly string[];
}

/** Plans the way from one layout (a map per rank; replicas may share the object) to another. Throws ConfigError if a target needs what no source holds. */
export function planRealloc(
  source: readonly StridedMap[],
  target: readonly StridedMap[],
  options: ReallocOptions = {},
): ReallocPlan {
  const { maxElements = 1 << 22, nodeOf = () => 0 } = options;
  if (!Number.isInteger(maxElements) || maxElements < 1)
    throw new ConfigError(`messages of ${maxElements} elements; they hold at least one`);
  const from = side(source, options.sourceRanks, 'source', 0);
  const to = side(target, options.targetRanks, 'target', from.maps.length);
  const world = Math.max(...from.mapOf.keys(), ...to.mapOf.keys(), -1) + 1;
  const skip = new Set(options.skip);

  const cells = cellsOf([...from.maps, ...to.maps]).filter((c) => !skip.has(c.param));
  const needs = new Map<string, Need>();
  const own = new Map<number, Cell[]>();
  for (const { cells: alike, maps } of byMaps(cells)) {
    const routes = routesOf(maps, from, to, nodeOf);
    if (routes === undefined) throw missing(alike[0]!, maps, to);
    for (const rank of routes.own) list(own, rank).push(...alike);
    for (const { holders, receivers } of routes.groups) {
      const key = `${holders.join()}|${receivers.join()}`;
      let need = needs.get(key);
      if (need === undefined) needs.set(key, (need = { holders, receivers, cells: [] }));
      need.cells.push(...alike);
    }
  }

  const transfers = order(
    [...assign([...needs.values()])].flatMap(([, { sender, receivers, cells: pieces }]) =>
      [...cut(pieces, maxElements)].map((message, i) => {
        const chain = chainOf(sender, receivers, nodeOf, i);
        return { from: sender, to: chain, ...pack(message, sender, chain, from.mapOf, to) };
      }),
    ),
    world,
  );
  const locals = [...own]
    .sort(([a], [b]) => a - b)
    .map(([rank, held]) => ({
      rank,
      copies: localCopies(held, from.mapOf.get(rank)!, to.mapOf.get(rank)!),
    }));
  const sizes = (s: Side) => Array.from({ length: world }, (_, r) => [...(s.sizes.get(r) ?? [])]);
  const copied = [...own.values()].reduce((n, held) => n + total(held), 0);
  return {
    transfers,
    locals,
    sourceSegments: sizes(from),
    targetSegments: sizes(to),
    copied,
    ...counts(transfers, world, nodeOf),
  };
}

/** Gather and scatter lists of one message. Cells that are aligned everywhere come first in it. */
function pack(
  cells: readonly Cell[],
  sender: number,
  chain: readonly number[],
  sourceMap: ReadonlyMap<number, number>,
  to: Side,
): Pick<Transfer, 'length' | 'gather' | 'scatter'> {
  const maps = [...new Set(chain.map((r) => to.mapOf.get(r)!))];
  const from = sourceMap.get(sender)!;
  const parts = cells.map((cell) => {
    const read = storedBy(cell, from)[0]!;
    const writes = maps.map((m) => storedBy(cell, m));
    const places = [read, ...writes.flat()].map((s) => placeOf(s, cell));
    return { cell, read, writes, aligned: isAligned(cell, places) };
  });
  const gather = new CopyLists();
  const scatter = maps.map(() => new CopyLists());
  let at = 0;
  for (const aligned of [true, false])
    for (const { cell, read, writes, aligned: a } of parts) {
      if (a !== aligned) continue;
      const place = { offset: at, stride: cell.c1 - cell.c0 };
      addBlock(gather.of(read.segment, aligned), cell, placeOf(read, cell), place);
      writes.forEach((stored, m) => {
        for (const s of stored)
          addBlock(scatter[m]!.of(s.segment, aligned), cell, place, placeOf(s, cell));
      });
      at += boxSize(cell);
    }
  return {
    length: at,
    gather: gather.done(),
    scatter: maps.map((m, i) => ({
      ranks: chain.filter((r) => to.mapOf.get(r) === m),
      copies: scatter[i]!.done(),
    })),
  };
}

class CopyLists {
  private readonly lists = new Map<string, SegmentCopy & { readonly blocks: number[] }>();
  of(segment: number, aligned: boolean): number[] {
    const key = `${segment} ${aligned}`;
    let known = this.lists.get(key);
    if (known === undefined) this.lists.set(key, (known = { segment, aligned, blocks: [] }));
    return known.blocks;
  }
  done(): SegmentCopy[] {
    return [...this.lists.values()];
  }
}

function localCopies(cells: readonly Cell[], from: number, to: number): LocalCopy[] {
  const lists = new Map<string, LocalCopy & { readonly blocks: number[] }>();
  for (const cell of cells) {
    const read = storedBy(cell, from)[0]!;
    for (const write of storedBy(cell, to)) {
      const [src, dst] = [placeOf(read, cell), placeOf(write, cell)];
      const aligned = isAligned(cell, [src, dst]);
      const key = `${read.segment} ${write.segment} ${aligned}`;
      let known = lists.get(key);
      if (known === undefined) {
        known = { source: read.segment, target: write.segment, aligned, blocks: [] };
        lists.set(key, known);
      }
      addBlock(known.blocks, cell, src, dst);
    }
  }
  return [...lists.values()];
}

function storedBy(cell: Cell, map: number): readonly Stored[] {
  return cell.stored[cell.maps.indexOf(map)]!;
}

/** Senders take turns, each beginning with another receiver, so that all ranks are busy from the start. */
function order(transfers: readonly Transfer[], world: number): Transfer[] {
  const bySender = new Map<number, Transfer[]>();
  for (const t of transfers) list(bySender, t.from).push(t);
  const hop = (t: Transfer) => (t.to[0]! - t.from + world) % world;
  return [...bySender.values()]
    .flatMap((mine) =>
      mine.sort((a, b) => hop(a) - hop(b)).map((transfer, turn) => ({ transfer, turn })),
    )
    .sort(
      (a, b) =>
        a.turn - b.turn || hop(a.transfer) - hop(b.transfer) || a.transfer.from - b.transfer.from,
    )
    .map(({ transfer }) => transfer);
}

function counts(transfers: readonly Transfer[], world: number, nodeOf: (rank: number) => number) {
  const zeros = () => new Array<number>(world).fill(0);
  const [sent, relayed, received] = [zeros(), zeros(), zeros()];
  let crossNode = 0;
  for (const { from, to, length } of transfers) {
    sent[from]! += length;
    to.forEach((rank, i) => {
      received[rank]! += length;
      if (i + 1 < to.length) relayed[rank]! += length;
      if (nodeOf(rank) !== nodeOf(to[i - 1] ?? from)) crossNode += length;
    });
  }
  const moved = received.reduce((a, b) => a + b, 0);
  return { sent, relayed, received, crossNode, moved };
}

function missing(cell: Cell, maps: readonly number[], to: Side): ConfigError {
  const rank = maps.flatMap((m) => to.ranksOf.get(m) ?? [])[0]!;
  return new ConfigError(
    `rank ${rank} needs a part of '${cell.param}' which no source rank holds; plan layouts of one model, or name it in skip`,
  );
}
