/** Interval algebra against sets of elements. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ShardMap } from '@realhf/api';
import { disjointRuns, findRun, intersect, mergeAdjacent, totalElements } from './intervals.js';

/** Any map: intervals in any order, over each other or apart, stored one after another with gaps. */
const mapArb = fc
  .array(fc.tuple(fc.nat(60), fc.nat(9), fc.nat(2), fc.nat(1)), { maxLength: 8 })
  .map((list): ShardMap => {
    const segmentSizes = [0, 0];
    const intervals = list.map(([global, length, gap, segment]) => {
      const local = segmentSizes[segment]! + gap;
      segmentSizes[segment] = local + length;
      return { param: 'p', global, segment, local, length };
    });
    return { intervals, segmentSizes };
  });
const places = (map: ShardMap) => {
  const at = new Map<number, string[]>();
  for (const i of map.intervals)
    for (let e = 0; e < i.length; e++) {
      const list = at.get(i.global + e) ?? [];
      list.push(`${i.segment}:${i.local + e}`);
      at.set(i.global + e, list);
    }
  return at;
};

it('disjointRuns hold every element once, where the map has it', () => {
  fc.assert(
    fc.property(mapArb, (map) => {
      const want = places(map);
      const runs = disjointRuns(map);
      const seen = new Set<number>();
      for (const r of runs)
        for (let e = 0; e < r.length; e++) {
          expect(seen.has(r.global + e)).toBe(false);
          seen.add(r.global + e);
          expect(want.get(r.global + e)).toContain(`${r.segment}:${r.local + e}`);
        }
      expect(seen.size).toBe(want.size);
      expect(totalElements(runs)).toBe(want.size);
      for (let g = -1; g < 75; g++) {
        const at = findRun(runs, g);
        expect(at).toBe(runs.filter((r) => r.global <= g).length - 1);
      }
    }),
  );
});

it('intersect is the intersection', () => {
  fc.assert(
    fc.property(mapArb, mapArb, (x, y) => {
      const a = places(x);
      const b = places(y);
      const got: number[] = [];
      for (const r of intersect(x, y))
        for (let e = 0; e < r.length; e++) {
          got.push(r.global + e);
          expect(a.get(r.global + e)).toContain(`${r.a.segment}:${r.a.local + e}`);
          expect(b.get(r.global + e)).toContain(`${r.b.segment}:${r.b.local + e}`);
        }
      expect(got).toEqual([...a.keys()].filter((g) => b.has(g)).sort((p, q) => p - q));
    }),
  );
});

it('merges what touches in both spaces and the same segment', () => {
  const run = (global: number, local: number, length: number, segment = 0) => ({
    global,
    local,
    length,
    segment,
  });
  expect(mergeAdjacent([run(0, 10, 2), run(2, 12, 3), run(5, 15, 0), run(5, 15, 1)])).toEqual([
    run(0, 10, 6),
  ]);
  expect(mergeAdjacent([run(0, 0, 2), run(2, 3, 1)])).toHaveLength(2);
  expect(mergeAdjacent([run(0, 0, 2), run(3, 2, 1)])).toHaveLength(2);
  expect(mergeAdjacent([run(0, 0, 2), run(2, 2, 1, 1)])).toHaveLength(2);
});
