/** The plan on integers: pairs of layouts and any maps, against brute force. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '@realhf/api';
import type { ShardMap } from '@realhf/api';
import { fill, layout, shardMaps, sizeOf, testModel } from './__fixtures__/layouts.js';
import { leastCosts, planOf, runPlan } from './__fixtures__/run-plan.js';

const layers = 4;
const model = testModel(layers);
const named = (
  [
    [1, 1, 1],
    [1, 1, 2],
    [1, 1, 4],
    [2, 1, 1],
    [2, 1, 2],
    [1, 2, 2],
    [2, 2, 1],
    [4, 1, 1],
  ] as const
).map(
  ([pp, dp, tp]) =>
    [`pp${pp} dp${dp} tp${tp}`, shardMaps(model, layers, layout(pp, dp, tp))] as const,
);
const pairs = named.flatMap(([a, x]) => named.map(([b, y]) => [a, b, x, y] as const));
const elements = (maps: readonly ShardMap[]) =>
  maps.reduce((n, m) => n + m.intervals.reduce((k, i) => k + i.length, 0), 0);

describe('planRealloc', () => {
  it.each(pairs)('%s → %s and back is the identity', (_a, _b, x, y) => {
    for (const options of [{}, { maxElements: 37, nodeOf: (r: number) => r >> 1 }]) {
      const there = planOf(x, y, options);
      const back = planOf(y, x, options);
      const source = x.map((m) => fill(m, (g) => g));
      const target = y.map((m) => fill(m, () => -1));
      const writes = runPlan(there, source, target);
      expect(target).toEqual(y.map((m) => fill(m, (g) => g)));
      expect(writes.map((s) => s!.map((a) => [...a]))).toEqual(
        y.map((m) => fill(m, () => 1).map((s) => [...s].map((v) => Math.max(0, v)))),
      );
      const again = x.map((m) => fill(m, () => -1));
      runPlan(back, target, again);
      expect(again).toEqual(source);
      expect(there.copied + there.moved).toBe(elements(y));
      for (const t of there.transfers)
        expect(t.length).toBeLessThanOrEqual(options.maxElements ?? Infinity);
    }
  });

  /** Maps over a little space: runs anywhere, in any order, some strided, some over each other. */
  const mapArb = fc
    .array(
      fc.record({
        global: fc.nat(40),
        run: fc.integer({ min: 1, max: 7 }),
        step: fc.constantFrom(8, 8, 8, 11),
        count: fc.integer({ min: 1, max: 4 }),
        gap: fc.constantFrom(0, 0, 3),
      }),
      { minLength: 1, maxLength: 5 },
    )
    .map((list): ShardMap => {
      let local = 0;
      const intervals = list.flatMap(({ global, run, step, count, gap }) => {
        local += gap;
        return Array.from({ length: count }, (_, k) => {
          local += run;
          return {
            param: global < 20 ? 'a' : 'b',
            global: global + k * step,
            segment: 0,
            local: local - run,
            length: run,
          };
        });
      });
      return { intervals, segmentSizes: [local] };
    });
  const whole: ShardMap = {
    intervals: ['a', 'b'].map((param, i) => ({
      param,
      global: 0,
      segment: 0,
      local: i * 80,
      length: 80,
    })),
    segmentSizes: [160],
  };

  it('serves any maps', () => {
    const nodeOf = (r: number) => r >> 1;
    fc.assert(
      fc.property(
        fc.array(mapArb, { maxLength: 3 }),
        fc.array(mapArb, { minLength: 1, maxLength: 4 }),
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 4, maxLength: 4 }),
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 4, maxLength: 4 }),
        fc.constantFrom(5, 64, 1000),
        (some, target, sourceRanks, targetRanks, maxElements) => {
          const source = [...some, whole];
          const plan = planOf(source, target, {
            sourceRanks: sourceRanks.slice(0, source.length),
            targetRanks: targetRanks.slice(0, target.length),
            maxElements,
            nodeOf,
          });
          expect(JSON.parse(JSON.stringify(plan))).toEqual(plan);
          // 'a' and 'b' overlap in the flat space here: tell them apart in the values.
          const value = (m: ShardMap) => {
            const out = new Float32Array(m.segmentSizes[0]!).fill(-1);
            for (const i of m.intervals)
              for (let e = 0; e < i.length; e++)
                out[i.local + e] = (i.param === 'a' ? 0 : 1000) + i.global + e;
            return [out];
          };
          const byRank = <T>(ranks: readonly number[], values: readonly T[]) =>
            Array.from({ length: 6 }, (_, r) => values[ranks.indexOf(r)]);
          const got = byRank(
            targetRanks,
            target.map((m) => [new Float32Array(m.segmentSizes[0]!).fill(-1)]),
          );
          runPlan(plan, byRank(sourceRanks, source.map(value)), got);
          expect(got).toEqual(byRank(targetRanks, target.map(value)));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('costs the least: elements moved, elements between nodes, busiest sender', () => {
    for (const [, , x, y] of pairs)
      for (const shift of [0, 1, 4])
        for (const perNode of [1, 2, 3]) {
          const nodeOf = (r: number) => Math.floor(r / perNode);
          const targetRanks = y.map((_, i) => i + shift);
          const plan = planOf(x, y, { targetRanks, nodeOf });
          const at = (maps: readonly ShardMap[], first: number) =>
            maps.map((map, i) => ({ rank: first + i, map }));
          const least = leastCosts(at(x, 0), at(y, shift), nodeOf);
          expect(plan.moved).toBe(least.moved);
          expect(plan.crossNode).toBe(least.crossNode);
          expect(Math.max(...plan.sent)).toBeLessThanOrEqual(Math.ceil(least.busiest));
        }
  });

  it('the same layout on the same ranks moves nothing, by few blocks', () => {
    for (const [, x] of named) {
      const plan = planOf(x, x);
      expect(plan.transfers).toEqual([]);
    }
    const x = shardMaps(model, layers, layout(1, 1, 1), 1 << 20);
    const { copies } = planOf(x, x).locals[0]!;
    expect(copies[0]!.blocks.length / 6).toBeLessThanOrEqual(model.length);
  });

  it('takes from itself what it holds', () => {
    const x = shardMaps(model, layers, layout(1, 1, 2));
    const y = shardMaps(model, layers, layout(1, 1, 1));
    const plan = planOf(x, y);
    // Rank 0 holds its half and all replicated norms.
    const norms = model.filter((p) => p.split === 'none').reduce((n, p) => n + p.columns, 0);
    expect(plan.moved).toBe((sizeOf(model) - norms) / 2);
    expect(plan.sent).toEqual([0, plan.moved]);
    expect(plan.received).toEqual([plan.moved, 0]);
  });

  it('one sender and many receivers is one chain, into every node once', () => {
    const x = shardMaps(model, layers, layout(1, 1, 1));
    const plan = planOf(x, shardMaps(model, layers, layout(1, 7, 1)), {
      targetRanks: [1, 2, 3, 4, 5, 6, 7],
      nodeOf: (r) => r >> 2,
    });
    expect(plan.transfers.map((t) => t.from)).toEqual([0]);
    const { to } = plan.transfers[0]!;
    expect(to.slice(0, 3).sort()).toEqual([1, 2, 3]);
    expect(to.slice(3).sort()).toEqual([4, 5, 6, 7]);
    expect(plan.sent[0]).toBe(sizeOf(model));
    expect(plan.crossNode).toBe(sizeOf(model));
    expect(Math.max(...plan.relayed)).toBe(sizeOf(model));
  });

  it('spreads the load over replicas', () => {
    const x = shardMaps(model, layers, layout(1, 4, 1));
    const one = planOf(x, shardMaps(model, layers, layout(1, 1, 1)), { targetRanks: [7] });
    expect(one.received[7]).toBe(sizeOf(model));
    expect(Math.max(...one.sent)).toBe(Math.ceil(sizeOf(model) / 4));
    const shared = x.map(() => x[0]!);
    expect(planOf(shared, [x[0]!], { targetRanks: [7] })).toEqual(one);
  });

  it('leaves skipped parameters alone', () => {
    const x = shardMaps(model.slice(0, -1), layers, layout(1, 1, 2));
    const y = shardMaps(model, layers, layout(2, 1, 1));
    expect(() => planOf(x, y)).toThrow(/rank 1 needs a part of 'head' which no source/);
    const plan = planOf(x, y, { skip: ['head'] });
    expect(plan.copied + plan.moved).toBe(sizeOf(model) - 12 * 8);
  });

  it('refuses what no source holds, doubled ranks, intervals outside segments', () => {
    const all = shardMaps(model, layers, layout(1, 1, 1));
    const half = shardMaps(model, layers, layout(1, 1, 2)).slice(0, 1);
    expect(() => planOf(half, all)).toThrow(/rank 0 needs a part of '0\.embed'/);
    expect(() => planOf(all, all, { targetRanks: [0, 1] })).toThrow(ConfigError);
    expect(() => planOf(all, all, { maxElements: 0 })).toThrow(ConfigError);
    const bad = [{ ...all[0]!, segmentSizes: [1] }];
    expect(() => planOf(bad, all)).toThrow(/0\.embed.*segment 0/);
  });

  it('a matrix cut by columns is one block per message, not one per row', () => {
    const big = Array.from({ length: 32 }, (_, layer) => ({
      name: `${layer}`,
      rows: 2048,
      columns: 64,
      split: 'columns' as const,
      layer,
    }));
    const x = shardMaps(big, 32, layout(1, 1, 4), 1 << 30);
    const y = shardMaps(big, 32, layout(2, 1, 2), 1 << 30);
    const plan = planOf(x, y);
    expect(plan.copied + plan.moved).toBe(elements(y));
    for (const t of plan.transfers)
      for (const { blocks } of t.gather) expect(blocks.length / 6).toBeLessThanOrEqual(32);
  });
});
