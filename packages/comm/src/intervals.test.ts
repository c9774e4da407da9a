/** Strided intervals against the map they come from, element by element. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ShardMap } from '@realhf/api';
import { layout, shardMaps, testModel } from './__fixtures__/layouts.js';
import { checkIntervals, shardMapOf, stridedMap } from './intervals.js';

/** Any map: intervals in any order, over each other or apart, stored one after another with gaps. */
const mapArb = fc
  .array(fc.tuple(fc.nat(60), fc.nat(9), fc.constantFrom(0, 0, 0, 2), fc.nat(1)), { maxLength: 12 })
  .map((list): ShardMap => {
    const segmentSizes = [0, 0];
    const intervals = list.map(([global, length, gap, segment]) => {
      const local = segmentSizes[segment]! + gap;
      segmentSizes[segment] = local + length;
      return { param: 'p', global, segment, local, length };
    });
    return { intervals, segmentSizes };
  });

it('hold what the map holds, where it holds it', () => {
  fc.assert(
    fc.property(mapArb, (map) => {
      const want = map.intervals.flatMap((i) =>
        Array.from({ length: i.length }, (_, e) => [i.global + e, i.segment, i.local + e]),
      );
      const got = stridedMap(map).intervals.flatMap((i) =>
        Array.from({ length: i.run * i.count }, (_, n) => {
          const [k, e] = [Math.floor(n / i.run), n % i.run];
          return [i.global + k * i.stride + e, i.segment, i.local + n];
        }),
      );
      expect(got).toEqual(want);
      expect(stridedMap(shardMapOf(stridedMap(map)))).toEqual(stridedMap(map));
    }),
  );
});

it('are one per parameter, also for a matrix cut by columns', () => {
  const model = testModel(2);
  const map = shardMaps(model, 2, layout(1, 1, 4))[1]!;
  expect(map.intervals.length).toBeGreaterThan(2 * 8);
  expect(stridedMap(map).intervals.map((i) => i.param)).toEqual(model.map((p) => p.name));
  expect(stridedMap(map).intervals.find((i) => i.param === '1.out')).toMatchObject({
    run: 4,
    stride: 16,
    count: 8,
  });
});

it('lie in their segments', () => {
  const interval = { param: 'p', global: 0, segment: 0, local: 4, length: 5 };
  expect(() => {
    checkIntervals(stridedMap({ intervals: [interval], segmentSizes: [8] }));
  }).toThrow(/'p' ends at 9 of segment 0, which has 8 elements/);
});
