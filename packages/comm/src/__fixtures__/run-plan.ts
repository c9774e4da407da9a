/** A reallocation on arrays: what a plan does, and what it must cost, both by brute force. */
import type { ShardMap } from '@realhf/api';
import { blockWords } from '../realloc-blocks.js';
import { stridedMap } from '../intervals.js';
import { planRealloc } from '../realloc-plan.js';
import type { ReallocOptions, ReallocPlan } from '../realloc-plan.js';

/** A plan between ShardMaps; what is one object stays one. */
export function planOf(
  source: readonly ShardMap[],
  target: readonly ShardMap[],
  options?: ReallocOptions,
): ReallocPlan {
  const known = new Map([...source, ...target].map((m) => [m, stridedMap(m)]));
  const strided = (maps: readonly ShardMap[]) => maps.map((m) => known.get(m)!);
  return planRealloc(strided(source), strided(target), options);
}

/** Calls f(source offset, destination offset) for every element of a block list. */
export function eachElement(
  blocks: ArrayLike<number>,
  f: (source: number, target: number) => void,
): void {
  for (let i = 0; i < blocks.length; i += blockWords)
    for (let k = 0; k < blocks[i + 5]!; k++)
      for (let e = 0; e < blocks[i + 2]!; e++)
        f(blocks[i]! + k * blocks[i + 3]! + e, blocks[i + 1]! + k * blocks[i + 4]! + e);
}

/** Runs a plan on arrays by rank; counts how often each target element is written. */
export function runPlan(
  plan: ReallocPlan,
  source: readonly (readonly Float32Array[] | undefined)[],
  target: readonly (readonly Float32Array[] | undefined)[],
  eta = 1,
): (Uint8Array[] | undefined)[] {
  const writes = target.map((segments) => segments?.map((s) => new Uint8Array(s.length)));
  const put = (rank: number, segment: number, at: number, value: number) => {
    const t = target[rank]![segment]!;
    t[at] = eta * value + (1 - eta) * t[at]!;
    writes[rank]![segment]![at]!++;
  };
  for (const { rank, copies } of plan.locals)
    for (const c of copies)
      eachElement(c.blocks, (s, d) => {
        put(rank, c.target, d, source[rank]![c.source]![s]!);
      });
  for (const t of plan.transfers) {
    const message = new Float32Array(t.length).fill(NaN);
    for (const c of t.gather)
      eachElement(c.blocks, (s, d) => {
        message[d] = source[t.from]![c.segment]![s]!;
      });
    for (const { ranks, copies } of t.scatter)
      for (const rank of ranks)
        for (const c of copies)
          eachElement(c.blocks, (s, d) => {
            put(rank, c.segment, d, message[s]!);
          });
  }
  return writes;
}

/**
 * Least costs, element by element: what every target lacks; those elements that no rank of its node holds, once per
 * node; and the least possible load of the busiest sender: over all sets of ranks, what only they can send, divided by
 * their number (the cut that a maximum flow is equal to). Elements that all chains of a node can carry count once.
 */
export function leastCosts(
  source: readonly { readonly rank: number; readonly map: ShardMap }[],
  target: readonly { readonly rank: number; readonly map: ShardMap }[],
  nodeOf: (rank: number) => number,
) {
  const bits = (maps: typeof source, size: number) => {
    const held = new Int32Array(size);
    for (const { rank, map } of maps)
      for (const i of map.intervals)
        for (let e = 0; e < i.length; e++) held[i.global + e]! |= 1 << rank;
    return held;
  };
  const size = [...source, ...target].reduce(
    (n, { map }) => map.intervals.reduce((m, i) => Math.max(m, i.global + i.length), n),
    0,
  );
  const [has, wants] = [bits(source, size), bits(target, size)];
  const nodes = new Map<number, number>();
  for (const { rank } of [...source, ...target])
    nodes.set(nodeOf(rank), (nodes.get(nodeOf(rank)) ?? 0) | (1 << rank));
  let [moved, crossNode] = [0, 0];
  const demands = new Map<number, number>();
  const demand = (ranks: number) => demands.set(ranks, (demands.get(ranks) ?? 0) + 1);
  for (let g = 0; g < size; g++) {
    const lacks = wants[g]! & ~has[g]!;
    if (lacks === 0) continue;
    moved += popcount(lacks);
    let near = 0;
    for (const members of nodes.values()) {
      if ((lacks & members) === 0) continue;
      if ((has[g]! & members) === 0) crossNode++;
      else {
        demand(has[g]! & members);
        near++;
      }
    }
    if (near === 0) demand(has[g]!);
  }
  const senders = [...demands.keys()].reduce((a, b) => a | b, 0);
  let busiest = 0;
  for (let set = senders; set > 0; set = (set - 1) & senders) {
    let only = 0;
    for (const [ranks, n] of demands) if ((ranks & ~set) === 0) only += n;
    busiest = Math.max(busiest, only / popcount(set));
  }
  return { moved, crossNode, busiest };
}

function popcount(bits: number): number {
  let n = 0;
  for (let b = bits; b !== 0; b &= b - 1) n++;
  return n;
}
