/** The plan on integers: every pair of layouts, each target element received once, there and back is the identity. */
import { describe, expect, it } from 'vitest';
import { ConfigError } from '@realhf/api';
import type { ShardMap } from '@realhf/api';
import { fill, layout, shardMaps, sizeOf, testModel } from './__fixtures__/layouts.js';
import { planRealloc } from './realloc-plan.js';
import type { ReallocPlan } from './realloc-plan.js';

const layers = 4;
const model = testModel(layers);
const layouts = [
  [1, 1, 1],
  [1, 1, 2],
  [1, 1, 4],
  [2, 1, 1],
  [2, 1, 2],
  [1, 2, 2],
  [2, 2, 1],
  [4, 1, 1],
] as const;
const named = layouts.map(
  ([pp, dp, tp]) =>
    [`pp${pp} dp${dp} tp${tp}`, shardMaps(model, layers, layout(pp, dp, tp))] as const,
);
const pairs = named.flatMap(([a, x]) => named.map(([b, y]) => [a, b, x, y] as const));

/** Runs a plan on arrays; counts how often each target element is written. */
function run(
  plan: ReallocPlan,
  source: readonly Float32Array[][],
  target: readonly Float32Array[][],
) {
  const writes = target.map((segments) => segments.map((s) => new Uint8Array(s.length)));
  for (const t of plan.transfers) {
    const message = new Float32Array(t.length).fill(NaN);
    for (const { segment, intervals: v } of t.gather)
      for (let i = 0; i < v.length; i += 3)
        for (let e = 0; e < v[i + 2]!; e++)
          message[v[i + 1]! + e] = source[t.from]![segment]![v[i]! + e]!;
    for (const { segment, intervals: v } of t.scatter)
      for (let i = 0; i < v.length; i += 3)
        for (let e = 0; e < v[i + 2]!; e++) {
          target[t.to]![segment]![v[i + 1]! + e] = message[v[i]! + e]!;
          writes[t.to]![segment]![v[i + 1]! + e]!++;
        }
  }
  return writes;
}
const elements = (maps: readonly ShardMap[]) =>
  maps.reduce((n, m) => n + m.intervals.reduce((k, i) => k + i.length, 0), 0);

describe('planRealloc', () => {
  it.each(pairs)('%s → %s and back is the identity', (_a, _b, x, y) => {
    for (const options of [{}, { maxElements: 37, grain: 10 }]) {
      const there = planRealloc(x, y, options);
      const back = planRealloc(y, x, options);
      const source = x.map((m) => fill(m, (g) => g));
      const target = y.map((m) => fill(m, () => -1));
      const writes = run(there, source, target);
      expect(target).toEqual(y.map((m) => fill(m, (g) => g)));
      // Written exactly once: a map whose every element is 1 and whose padding is 0.
      expect(writes.map((s) => s.map((a) => [...a]))).toEqual(
        y.map((m) => fill(m, () => 1).map((s) => [...s].map((v) => Math.max(0, v)))),
      );
      const again = x.map((m) => fill(m, () => -1));
      run(back, target, again);
      expect(again).toEqual(source);
      expect(there.copied + there.moved).toBe(elements(y));
      for (const t of there.transfers)
        expect(t.length).toBeLessThanOrEqual(options.maxElements ?? Infinity);
    }
  });

  it('the same layout on the same ranks moves nothing', () => {
    for (const [, x] of named) {
      const plan = planRealloc(x, x);
      expect(plan.moved).toBe(0);
      expect(plan.transfers.every((t) => t.from === t.to)).toBe(true);
    }
  });

  it('touching intervals are one, so a whole layer is few', () => {
    const x = shardMaps(model, layers, layout(1, 1, 1), 1 << 20);
    const [copy] = planRealloc(x, x).transfers;
    expect(copy!.gather[0]!.intervals.length / 3).toBeLessThanOrEqual(model.length);
  });

  it('takes from itself what it holds', () => {
    const x = shardMaps(model, layers, layout(1, 1, 2));
    const y = shardMaps(model, layers, layout(1, 1, 1));
    const plan = planRealloc(x, y);
    // Rank 0 holds its half and all replicated norms.
    const norms = model.filter((p) => p.split === 'none').reduce((n, p) => n + p.columns, 0);
    expect(plan.moved).toBe((sizeOf(model) - norms) / 2);
    expect(plan.sent).toEqual([0, plan.moved]);
    expect(plan.received).toEqual([plan.moved, 0]);
  });

  it('replicated tensors are sent once per receiver', () => {
    const x = shardMaps(model, layers, layout(1, 1, 4));
    const y = shardMaps(model, layers, layout(1, 1, 2));
    const plan = planRealloc(x, y, { targetRanks: [4, 5] });
    expect(plan.copied).toBe(0);
    expect(plan.moved).toBe(elements(y));
  });

  it('spreads the load over replicas', () => {
    const x = shardMaps(model, layers, layout(1, 4, 1));
    const one = planRealloc(x, shardMaps(model, layers, layout(1, 1, 1)), {
      targetRanks: [7],
      grain: 16,
    });
    expect(one.received[7]).toBe(sizeOf(model));
    expect(Math.max(...one.sent) - Math.min(...one.sent.slice(0, 4))).toBeLessThanOrEqual(16);
    const shared = x.map(() => x[0]!);
    expect(planRealloc(shared, [x[0]!], { targetRanks: [7], grain: 16 })).toEqual(one);
  });

  it('copies come first, then rounds with one partner each', () => {
    const plan = planRealloc(
      shardMaps(model, layers, layout(2, 1, 2)),
      shardMaps(model, layers, layout(1, 1, 4)),
    );
    const rounds = plan.transfers.map((t) => (t.to - t.from + 4) % 4);
    expect(rounds).toEqual([...rounds].sort((a, b) => a - b));
  });

  it('refuses what no source holds, doubled ranks, intervals outside segments', () => {
    const whole = shardMaps(model, layers, layout(1, 1, 1));
    const half = shardMaps(model, layers, layout(1, 1, 2)).slice(0, 1);
    expect(() => planRealloc(half, whole)).toThrow(/rank 0 needs element \d+ \('0\.embed'\)/);
    expect(() => planRealloc(whole, whole, { targetRanks: [0, 1] })).toThrow(ConfigError);
    const bad = [{ ...whole[0]!, segmentSizes: [1] }];
    expect(() => planRealloc(bad, whole)).toThrow(/0\.embed.*segment 0/);
  });

  it('plans 65,536 row-wise intervals per rank in seconds', () => {
    const big = Array.from({ length: 32 }, (_, layer) => ({
      name: `${layer}`,
      rows: 2048,
      columns: 64,
      split: 'columns' as const,
      layer,
    }));
    const x = shardMaps(big, 32, layout(1, 1, 4), 1 << 30);
    const y = shardMaps(big, 32, layout(2, 1, 2), 1 << 30);
    const start = performance.now();
    const plan = planRealloc(x, y);
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(plan.copied + plan.moved).toBe(elements(y));
  });
});
