/**
 * Routes of a reallocation: which rank gets which cells from whom. Own elements first, then those of a holder on the same
 * node, then any; within that, the busiest sender has the least possible to send (to a cache line).
 */
import { ConfigError } from '@realhf/api';
import type { StridedMap } from './intervals.js';
import { balance } from './realloc-balance.js';
import { splitBox } from './realloc-blocks.js';
import { boxSize } from './realloc-cells.js';
import type { Cell } from './realloc-cells.js';

/** What one set of ranks lacks and one set of ranks can send. */
export interface Need {
  readonly holders: readonly number[];
  readonly receivers: readonly number[];
  readonly cells: Cell[];
}

/** One side of the plan: its different maps, who has which (indices as in cells). */
export interface Side {
  readonly maps: StridedMap[];
  readonly mapOf: Map<number, number>;
  readonly ranksOf: Map<number, number[]>;
  readonly sizes: Map<number, readonly number[]>;
}

export function side(
  given: readonly StridedMap[],
  asked: readonly number[] | undefined,
  what: string,
  first: number,
): Side {
  const ranks = asked ?? given.map((_, i) => i);
  if (
    ranks.length !== given.length ||
    new Set(ranks).size !== given.length ||
    ranks.some((r) => !Number.isInteger(r) || r < 0)
  )
    throw new ConfigError(
      `${what} ranks ${ranks.join(', ')} for ${given.length} maps; give one different rank ≥ 0 per map`,
    );
  const maps = [...new Set(given)];
  const out: Side = { maps, mapOf: new Map(), ranksOf: new Map(), sizes: new Map() };
  const indexOf = new Map(maps.map((m, i) => [m, first + i]));
  given.forEach((m, i) => {
    out.mapOf.set(ranks[i]!, indexOf.get(m)!);
    list(out.ranksOf, indexOf.get(m)!).push(ranks[i]!);
    out.sizes.set(ranks[i]!, m.segmentSizes);
  });
  return out;
}

/** Cells that the same maps hold. */
export function byMaps(cells: readonly Cell[]): { cells: Cell[]; maps: readonly number[] }[] {
  const classes = new Map<string, { cells: Cell[]; maps: readonly number[] }>();
  for (const cell of cells) {
    const key = cell.maps.join();
    const known = classes.get(key);
    if (known) known.cells.push(cell);
    else classes.set(key, { cells: [cell], maps: cell.maps });
  }
  return [...classes.values()];
}

/** Who copies from itself, and who can get it from whom with the fewest elements between nodes; undefined if nobody holds it. */
export function routesOf(
  maps: readonly number[],
  from: Side,
  to: Side,
  nodeOf: (rank: number) => number,
): { own: number[]; groups: { holders: number[]; receivers: number[] }[] } | undefined {
  const ranks = (s: Side) => maps.flatMap((m) => s.ranksOf.get(m) ?? []).sort((a, b) => a - b);
  const holders = ranks(from);
  const wanted = ranks(to);
  const receivers = wanted.filter((r) => !holders.includes(r));
  if (wanted.length > 0 && holders.length === 0) return undefined;
  const groups: { holders: number[]; receivers: number[] }[] = [];
  const far: number[][] = [];
  for (const node of new Set(receivers.map(nodeOf))) {
    const here = receivers.filter((r) => nodeOf(r) === node);
    const near = holders.filter((r) => nodeOf(r) === node);
    if (near.length > 0) groups.push({ holders: near, receivers: here });
    else far.push(here);
  }
  // A node without a holder joins a chain that is there anyway: it costs no sender anything.
  if (groups.length === 0 && far.length > 0) groups.push({ holders, receivers: [] });
  far.forEach((here, i) => groups[i % groups.length]!.receivers.push(...here));
  return { own: wanted.filter((r) => holders.includes(r)), groups };
}

/** Shares the cells of every need out over its holders; keyed by sender and receivers. */
export function assign(needs: readonly Need[]) {
  const pools = new Map<string, Need[]>();
  for (const need of needs) list(pools, need.holders.join()).push(need);
  const lists = [...pools.values()];
  const shares = balance(
    lists.map((pool) => ({
      size: pool.reduce((n, need) => n + total(need.cells), 0),
      ranks: pool[0]!.holders,
    })),
  );
  const out = new Map<string, { sender: number; receivers: readonly number[]; cells: Cell[] }>();
  lists.forEach((pool, p) => {
    const left = [...shares[p]!].sort(([a], [b]) => a - b);
    for (const { receivers, cells } of pool)
      for (const cell of cells)
        for (let rest: Cell[] = [cell]; rest.length > 0;) {
          while (left.length > 1 && left[0]![1] <= 0) left.shift();
          const [sender, room] = left[0]!;
          const key = `${sender}|${receivers.join()}`;
          let entry = out.get(key);
          if (entry === undefined) out.set(key, (entry = { sender, receivers, cells: [] }));
          const piece = rest.shift()!;
          // A cut on a whole cache line where that is a small part of the share.
          const cutAt = left.length > 1 && room > 4096 ? room - (room % 64) : room;
          const n = left.length === 1 ? Infinity : cutAt;
          const [taken, others] = splitBox(piece, n);
          entry.cells.push(...taken);
          rest = [...others, ...rest];
          left[0]![1] = others.length > 0 ? 0 : room - total(taken);
        }
  });
  return out;
}

/** Cuts a list of cells into messages of at most `max` elements. */
export function* cut(cells: readonly Cell[], max: number): Generator<Cell[]> {
  let message: Cell[] = [];
  let room = max;
  for (const cell of cells)
    for (let rest: Cell[] = [cell]; rest.length > 0;) {
      const [taken, others] = splitBox(rest.shift()!, room);
      message.push(...taken);
      room -= total(taken);
      rest = [...others, ...rest];
      if (room > 0) continue;
      yield message;
      message = [];
      room = max;
    }
  if (message.length > 0) yield message;
}

/** Receivers in the order of the chain: the sender's node first, every node in one stretch, turned from message to message. */
export function chainOf(
  sender: number,
  receivers: readonly number[],
  nodeOf: (rank: number) => number,
  turn: number,
): number[] {
  const home = nodeOf(sender);
  const nodes = [...new Set(receivers.map(nodeOf))].sort((a, b) => a - b);
  const away = rotate(
    nodes.filter((n) => n !== home),
    sender + turn,
  );
  return (nodes.includes(home) ? [home, ...away] : away).flatMap((node) =>
    rotate(
      receivers.filter((r) => nodeOf(r) === node),
      sender + turn,
    ),
  );
}

function rotate<T>(items: readonly T[], by: number): T[] {
  const at = items.length > 0 ? by % items.length : 0;
  return [...items.slice(at), ...items.slice(0, at)];
}

export function total(cells: readonly Cell[]): number {
  return cells.reduce((n, c) => n + boxSize(c), 0);
}

export function list<K, V>(map: Map<K, V[]>, key: K): V[] {
  let values = map.get(key);
  if (values === undefined) map.set(key, (values = []));
  return values;
}
