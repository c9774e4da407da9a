/**
 * Reallocation plans of real models, on integers: every pair of layouts of up to eight ranks, actors and critics, there
 * and back, EMA, and what it costs against bounds found by brute force.
 */
import { planRealloc, type ReallocPlan, type StridedMap } from '@realhf/comm';
import { paramCount, paramSpecs, replicaMaps, unsharedParams } from '@realhf/model';
import type { ShardMap } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import {
  fillSegments,
  firstDifference,
  layouts,
  nameOf,
  parallel,
  shardMapsOf,
  smallConfigs,
} from './realloc-layouts.js';

type Segments = readonly Float32Array[];
type ByRank<T> = ReadonlyMap<number, T>;

/** f(source offset, destination offset) for every element of a block list. */
function eachElement(b: readonly number[], f: (source: number, target: number) => void): void {
  for (let i = 0; i < b.length; i += 6)
    for (let k = 0; k < b[i + 5]!; k++)
      for (let e = 0; e < b[i + 2]!; e++)
        f(b[i]! + k * b[i + 3]! + e, b[i + 1]! + k * b[i + 4]! + e);
}

function run(plan: ReallocPlan, source: ByRank<Segments>, target: ByRank<Segments>, eta = 1) {
  for (const { rank, copies } of plan.locals)
    for (const c of copies) {
      const [s, t] = [source.get(rank)![c.source]!, target.get(rank)![c.target]!];
      eachElement(c.blocks, (a, b) => (t[b] = eta * s[a]! + (1 - eta) * t[b]!));
    }
  for (const { from, length, gather, scatter } of plan.transfers) {
    const message = new Float32Array(length).fill(NaN);
    for (const c of gather) {
      const s = source.get(from)![c.segment]!;
      eachElement(c.blocks, (a, b) => (message[b] = s[a]!));
    }
    for (const { ranks, copies } of scatter)
      for (const rank of ranks)
        for (const c of copies) {
          const t = target.get(rank)![c.segment]!;
          eachElement(c.blocks, (a, b) => (t[b] = eta * message[a]! + (1 - eta) * t[b]!));
        }
  }
}

/** Bit r of entry g: rank r holds element g. */
function holders(maps: readonly ShardMap[], size: number): Int32Array {
  const held = new Int32Array(size);
  maps.forEach((m, rank) => {
    for (const { global, length } of m.intervals)
      for (let g = global; g < Math.min(size, global + length); g++) held[g]! |= 1 << rank;
  });
  return held;
}

const popcount = (bits: number): number => (bits === 0 ? 0 : 1 + popcount(bits & (bits - 1)));

/**
 * The least that any plan can cost, element by element: every rank gets what it lacks; what no rank of a node holds comes
 * into it once; and with that, the busiest sender has at least, for any set of ranks, what only they can send over their
 * number (by the theorem of maximum flow and minimum cut the largest of these is reached).
 */
function bounds(has: Int32Array, wants: Int32Array, shift: number, nodes: readonly number[]) {
  // Elements by who has and who wants them.
  const kinds = new Map<number, number>();
  has.forEach((h, g) => {
    const kind = h + wants[g]! * 256;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  });
  let [moved, crossNode] = [0, 0];
  const classes = new Map<number, number>();
  for (const [kind, n] of kinds) {
    const had = kind % 256;
    const lacks = (Math.floor(kind / 256) << shift) & ~had;
    if (lacks === 0) continue;
    moved += n * popcount(lacks);
    const reached = nodes.filter((node) => lacks & node);
    const near = reached.filter((node) => had & node);
    crossNode += n * (reached.length - near.length);
    for (const node of near.length > 0 ? near : [-1])
      classes.set(had & node, (classes.get(had & node) ?? 0) + n);
  }
  const senders = [...classes.keys()].reduce((a, b) => a | b, 0);
  let busiest = 0;
  for (let set = senders; set > 0; set = (set - 1) & senders) {
    let only = 0;
    for (const [ranks, n] of classes) if ((ranks & ~set) === 0) only += n;
    busiest = Math.max(busiest, only / popcount(set));
  }
  return { moved, crossNode, busiest };
}

function difference(got: readonly Segments[], want: readonly Segments[]): string | undefined {
  for (const [rank, w] of want.entries()) {
    const why = firstDifference(got[rank]!, w);
    if (why !== undefined) return `rank ${rank}, ${why}`;
  }
  return undefined;
}

const maxBytes = 64 * 8 * 4;
const byRank = <T>(values: readonly T[], first: number) =>
  new Map(values.map((v, i) => [first + i, v]));

describe('every pair of layouts of up to eight ranks', () => {
  it.each([
    ['llama', 'llama'],
    ['gpt2 tied', 'gpt2 tied'],
    ['llama critic', 'llama critic'],
    ['llama', 'llama critic'],
    ['gpt2 tied', 'gpt2 critic'],
    ['gpt2 critic', 'gpt2 tied'],
  ])('%s → %s', (from, to) => {
    const [source, target] = [smallConfigs[from]!, smallConfigs[to]!];
    const skip = unsharedParams(source, target);
    const specs = paramSpecs(target);
    const sharedSize = specs.find((p) => p.name === skip[0])?.offset ?? paramCount(target);
    const [all, others] = [source, target].map((config) =>
      layouts.map((p) => shardMapsOf(config, p, maxBytes * p.dataParallelSize)),
    ) as [ShardMap[][], ShardMap[][]];
    const [sources, targets] = [source, target].map((config) =>
      layouts.map((p) => replicaMaps(config, p, maxBytes * p.dataParallelSize)),
    ) as [StridedMap[][], StridedMap[][]];
    const held = all.map((x) => holders(x, sharedSize));
    const wanted = others.map((y) => holders(y, sharedSize));
    const blank = (m: ShardMap) => fillSegments(m, () => -8, -1);
    const filled = all.map((x) => x.map((m) => fillSegments(m, (g) => g + 1, -1)));
    const wants = others.map((y) =>
      y.map((m) => fillSegments(m, (g) => (g < sharedSize ? g + 1 : -8), -1)),
    );
    const means = others.map((y) =>
      y.map((m) => fillSegments(m, (g) => (g < sharedSize ? 4 : 5) * (g + 1), -1)),
    );
    let pair = 0;
    for (const [i, x] of all.entries())
      for (const [j, y] of others.entries()) {
        pair++;
        const name = `${nameOf(layouts[i]!)} → ${nameOf(layouts[j]!)}`;
        const first = [0, 3, x.length][pair % 3]!;
        const perNode = [1, 2, 4, 8][pair % 4]!;
        const nodeOf = (r: number) => Math.floor(r / perNode);
        const options = { nodeOf, skip, maxElements: pair % 5 === 0 ? 61 : 1 << 22 };
        const ranks = y.map((_, r) => first + r);
        const plan = planRealloc(sources[i]!, targets[j]!, { ...options, targetRanks: ranks });
        const have = filled[i]!;
        const get = y.map(blank);
        run(plan, byRank(have, 0), byRank(get, first));
        expect(difference(get, wants[j]!), name).toBeUndefined();

        // Blended: every element was written once.
        const mean = y.map((m) => fillSegments(m, (g) => 5 * (g + 1), -1));
        run(plan, byRank(have, 0), byRank(mean, first), 0.25);
        expect(difference(mean, means[j]!), `${name}, EMA`).toBeUndefined();

        if (from === to) {
          const back = planRealloc(targets[j]!, sources[i]!, { ...options, sourceRanks: ranks });
          const again = x.map(blank);
          run(back, byRank(get, first), byRank(again, 0));
          expect(difference(again, have), `${name} and back`).toBeUndefined();
        }

        const world = Math.max(x.length, first + y.length);
        const nodes = new Map<number, number>();
        for (let r = 0; r < world; r++)
          nodes.set(nodeOf(r), (nodes.get(nodeOf(r)) ?? 0) | (1 << r));
        const least = bounds(held[i]!, wanted[j]!, first, [...nodes.values()]);
        expect([plan.moved, plan.crossNode], name).toEqual([least.moved, least.crossNode]);
        expect(Math.max(...plan.sent), name).toBeLessThanOrEqual(1.25 * least.busiest);
        for (const [r, n] of plan.relayed.entries())
          expect(n, name).toBeLessThanOrEqual(plan.received[r]!);
      }
  });
});

describe('plans of large models', () => {
  const llamaShape = (
    hiddenDim: number,
    nLayers: number,
    nHeads: number,
    nKvHeads: number,
    intermediateDim: number,
  ) => ({
    ...smallConfigs.llama!,
    hiddenDim,
    nLayers,
    nHeads,
    nKvHeads,
    headDim: hiddenDim / nHeads,
    intermediateDim,
    vocabSize: 32000,
  });
  it('1.1B, eight ranks to eight: under a second, few blocks', () => {
    const config = llamaShape(2048, 22, 32, 4, 5632);
    for (const [a, b] of [
      [parallel(1, 8, 1), parallel(8, 1, 1)],
      [parallel(2, 2, 2), parallel(1, 4, 2)],
    ] as const) {
      const [x, y] = [replicaMaps(config, a, 2 ** 31), replicaMaps(config, b, 2 ** 31)];
      const start = performance.now();
      const plan = planRealloc(x, y);
      const ms = performance.now() - start;
      expect(ms).toBeLessThan(1000);
      const blocks = plan.transfers.reduce(
        (n, t) => n + t.gather.reduce((k, c) => k + c.blocks.length / 6, 0),
        0,
      );
      // A row-parallel matrix has 2,048 rows; a block per row would be 90,112 per rank.
      expect(blocks).toBeLessThan(6000);
      expect(plan.transfers.every((t) => t.gather.every((c) => c.aligned))).toBe(true);
    }
  });
});
