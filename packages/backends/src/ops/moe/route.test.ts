import { describe, expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, expectDirectional, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import {
  routeBackwardReference,
  routeObjective,
  routeReference,
  sinkhornReference,
  statisticsReference,
} from './moe.reference.js';
import { moeRoute, moeRouteBackward, moeSinkhorn } from './route.js';

const kinds = ['selected', 'sigmoid', 'all'] as const;

function gradients(t: number, n: number, k: number, experts: readonly number[], seed: number) {
  const rand = random(seed);
  const counts = Array.from({ length: n }, (_, e) => experts.filter((x) => x === e).length);
  return { experts, dProbs: normal(t * k, rand), counts, auxScale: 0.03, zScale: 0.07 };
}

describe('reference', () => {
  test.each(kinds)('gradient of %s', (scores) => {
    const [t, n, k] = [5, 7, 3];
    const rand = random(2);
    const logits = normal(t * n, rand);
    const g = gradients(t, n, k, routeReference(logits, n, k, scores).experts, 3);
    expectDirectional(
      ([x]) => routeObjective(x!, n, k, scores, g),
      [logits],
      [routeBackwardReference(logits, n, k, scores, g)],
      rand,
    );
  });
  test('softmax over the chosen is softmax over all, renormalised (Mixtral)', () => {
    const [n, k] = [8, 2];
    const logits = normal(40 * n, random(1), 3);
    const own = routeReference(logits, n, k, 'selected').probs;
    const all = routeReference(logits, n, k, 'all').probs;
    expectClose(
      own,
      all.map((p, i) => p / (all[i - (i % k)]! + all[i - (i % k) + 1]!)),
      1e-12,
    );
  });
});

onAdapters((r) => {
  const cases = kinds.flatMap((scores) =>
    (
      [
        [1, 1, 1],
        [3, 4, 2],
        [65, 8, 2],
        [29, 13, 5],
      ] as const
    ).map((size) => [scores, ...size] as const),
  );
  test.each(cases)('%s of %i×%i, top %i', async (scores, t, n, k) => {
    const rand = random(t + n);
    const logits = normal(t * n, rand, 2);
    const bias = normal(n, rand);
    const x = upload(r(), logits, [t, n]);
    const experts = r().alloc([t, k], 'u32');
    const probs = poisoned(r(), [t, k]);
    const statistics = poisoned(r(), [t, n + 1]);
    const args = { logits: x, topK: k, scores };
    moeRoute(r(), { ...args, experts, probs, statistics });
    const want = routeReference(logits, n, k, scores);
    expect([...new Uint32Array(await r().read(experts))]).toEqual(want.experts);
    expectClose(await download(r(), probs), want.probs, 1e-5);
    expectClose(await download(r(), statistics), statisticsReference(logits, n), 1e-5);

    const g = gradients(t, n, k, want.experts, 9);
    const dLogits = poisoned(r(), [t, n]);
    const back = {
      ...args,
      experts,
      dProbs: upload(r(), g.dProbs, [t, k]),
      counts: upload(r(), Uint32Array.from(g.counts), [n], 'u32'),
      auxScale: g.auxScale,
      zScale: g.zScale,
      dLogits,
    };
    moeRouteBackward(r(), back);
    const got = await download(r(), dLogits);
    expectClose(got, routeBackwardReference(logits, n, k, scores, g), 1e-4, 1e-5);
    moeRouteBackward(r(), back);
    expect(await download(r(), dLogits)).toEqual(got);

    moeRoute(r(), { ...args, choiceBias: upload(r(), bias), experts, probs });
    const biased = routeReference(logits, n, k, scores, bias);
    expect([...new Uint32Array(await r().read(experts))]).toEqual(biased.experts);
    expectClose(await download(r(), probs), biased.probs, 1e-5);
  });

  test('of equal logits the lowest numbers', async () => {
    const [experts, probs] = [r().alloc([1, 3], 'u32'), poisoned(r(), [1, 3])];
    const logits = upload(r(), Float32Array.of(1, 2, 2, 1, 2, 0), [1, 6]);
    moeRoute(r(), { logits, topK: 3, scores: 'selected', experts, probs });
    expect([...new Uint32Array(await r().read(experts))]).toEqual([1, 2, 4]);
  });

  test.each([
    [1, 3],
    [50, 4],
    [301, 8],
  ])('Sinkhorn of %i×%i chooses as the scaled matrix does', async (t, n) => {
    const rand = random(t * n);
    // Most tokens prefer the first expert; some logits would overflow exp.
    const logits = normal(t * n, rand, 2).map((v, i) => v + (i % n === 0 ? 3 : 0));
    const want = sinkhornReference(logits, n);
    const shifted = logits.map((v, i) => v + (Math.floor(i / n) % 2 ? 200 : 0));
    const bias = poisoned(r(), [n]);
    moeSinkhorn(r(), upload(r(), shifted, [t, n]), bias);
    const got = await download(r(), bias);
    const best = (row: (e: number) => number) =>
      Array.from({ length: n }, (_, e) => e).sort((a, b) => row(b) - row(a))[0]!;
    const load = new Array<number>(n).fill(0);
    for (let i = 0; i < t; i++) {
      const e = best((c) => want[i * n + c]!);
      load[e]!++;
      expect(best((c) => logits[i * n + c]! + got[c]!)).toBe(e);
    }
    if (t > 50) expect(Math.max(...load) / t).toBeLessThan(2 / n);
  });

  test('more choices than experts are refused', () => {
    expect(() => {
      moeRoute(r(), {
        logits: r().alloc([2, 3]),
        topK: 4,
        scores: 'selected',
        experts: r().alloc([2, 4], 'u32'),
        probs: r().alloc([2, 4]),
      });
    }).toThrow(/topK ≤ E/);
  });
});
