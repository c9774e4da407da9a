import type { ShardMap } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { recutState, shareOf, stateMaps, type StateMaps, type TrainState } from './zero.js';

describe('shareOf', () => {
  it('cuts a segment into equal multiples of 64 elements', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.integer({ min: 1, max: 9 }),
        (n, size) => {
          const shares = Array.from({ length: size }, (_, rank) => shareOf(n, { rank, size }));
          shares.forEach((s, rank) => {
            expect(s.length % 64).toBe(0);
            expect(s).toEqual({ begin: rank * s.length, length: s.length });
          });
          expect(shares[0]!.length * size).toBeGreaterThanOrEqual(n);
          expect(shares[0]!.length * size).toBeLessThan(n + 64 * size);
        },
      ),
      { seed: 1 },
    );
  });
});

/** Elements of one flat space. */
const total = 500;

/** A rank that holds [begin, end) in pieces of `piece` elements, last first, each on a multiple of 64. */
function mapOf(begin: number, end: number, piece: number): ShardMap {
  const intervals: ShardMap['intervals'][number][] = [];
  let local = 0;
  for (let to = end; to > begin; to -= piece) {
    const global = Math.max(begin, to - piece);
    intervals.push({ param: 'p', global, segment: 0, local, length: to - global });
    local = Math.ceil((local + to - global) / 64) * 64;
  }
  return { intervals, segmentSizes: [local] };
}

/** Stages × data-parallel ranks, stages overlapping by `shared` elements. */
function grid(stages: number, dp: number, piece: number, shared: number): StateMaps[] {
  const width = Math.ceil(total / stages);
  return Array.from({ length: stages * dp }, (_, r) => {
    const stage = Math.floor(r / dp);
    const end = Math.min(total, (stage + 1) * width + shared);
    return stateMaps(mapOf(stage * width, end, piece), { rank: r % dp, size: dp });
  });
}

/** The state in which element i of the flat space has parameter i, m = i + ¼ and v = i + ½. */
function stateOf(maps: StateMaps): TrainState {
  const fill = (map: ShardMap, plus: number) => {
    const out = map.segmentSizes.map((n) => new Float32Array(n));
    for (const i of map.intervals)
      for (let k = 0; k < i.length; k++) out[i.segment]![i.local + k] = i.global + k + plus;
    return out;
  };
  return {
    steps: 3,
    params: fill(maps.params, 0),
    m: fill(maps.moments, 0.25),
    v: fill(maps.moments, 0.5),
  };
}

describe('recutState', () => {
  const layout = fc.record({
    stages: fc.integer({ min: 1, max: 5 }),
    dp: fc.integer({ min: 1, max: 5 }),
    piece: fc.integer({ min: 1, max: 300 }),
    shared: fc.integer({ min: 0, max: 40 }),
  });

  it('gives every rank of any layout its state from those of any other', () => {
    fc.assert(
      fc.property(layout, layout, (a, b) => {
        const pieces = grid(a.stages, a.dp, a.piece, a.shared).map((maps) => ({
          maps,
          state: stateOf(maps),
        }));
        for (const maps of grid(b.stages, b.dp, b.piece, b.shared))
          expect(recutState(maps, pieces)).toEqual(stateOf(maps));
      }),
      { seed: 1, numRuns: 40 },
    );
  });

  it('names what is missing', () => {
    const pieces = grid(2, 2, 100, 0).map((maps) => ({ maps, state: stateOf(maps) }));
    const [target] = grid(1, 1, 100, 0);
    expect(() => recutState(target!, pieces.slice(2))).toThrow(
      /the saved params of 'p' lack element 0 of the flat space; the states of all ranks are needed/,
    );
  });
});
