import { describe, expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, expectDirectional, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { moeCombine, moeCombineBackward } from './combine.js';
import { checkGrouped, kinds, products } from './grouped-checks.js';
import { groupedMatmul } from './grouped.js';
import { combineBackwardReference, combineReference, sortReference } from './moe.reference.js';
import { moeSort } from './sort.js';

describe('reference', () => {
  test('gradient of the sum over copies', () => {
    const [k, dim] = [2, 3];
    const rand = random(4);
    const rowOf = [3, 0, 0xffffffff, 1, 2, 0xffffffff];
    const [rows, weights, d] = [normal(6 * dim, rand), normal(6, rand), normal(3 * dim, rand)];
    const { dRows, dWeights } = combineBackwardReference(rows, rowOf, weights, d, k, dim);
    expectDirectional(
      ([x, w]) => combineReference(x!, rowOf, w!, k, dim).reduce((s, v, i) => s + v * d[i]!, 0),
      [rows, weights],
      [dRows, dWeights],
      rand,
    );
  });
});

onAdapters((r, name) => {
  const choose = (t: number, n: number, k: number, rand: () => number) =>
    Array.from({ length: t }, () => {
      // Skewed, so that some experts are above any capacity and some empty.
      const free = Array.from({ length: n }, (_, e) => e);
      return Array.from(
        { length: k },
        () => free.splice(Math.floor(rand() ** 2 * free.length), 1)[0]!,
      );
    }).flat();
  const ints = async (t: Parameters<typeof moeCombine>[1]['rowOf']) => [
    ...new Uint32Array(await r().read(t)),
  ];

  test.each([
    [1, 1, 1],
    [7, 5, 2],
    [150, 8, 2],
    [311, 70, 3],
  ])('sort of %i tokens over %i experts, %i copies', async (t, n, k) => {
    const rand = random(t);
    const experts = choose(t, n, k, rand);
    // Few values, so that there are ties.
    const probs = Float32Array.from(experts, () => Math.floor(rand() * 4) / 4);
    const copies = Math.ceil((t * k) / n);
    for (const capacity of [
      undefined,
      { copies, policy: 'position' },
      { copies, policy: 'probs' },
    ] as const) {
      const out = {
        rowOf: r().alloc([t, k], 'u32'),
        tokenOf: r().alloc([t * k], 'u32'),
        offsets: r().alloc([n + 1], 'u32'),
        counts: r().alloc([n], 'u32'),
      };
      moeSort(r(), {
        experts: upload(r(), Uint32Array.from(experts), [t, k], 'u32'),
        nExperts: n,
        probs: upload(r(), probs, [t, k]),
        ...(capacity ? { capacity } : {}),
        ...out,
      });
      const got = {
        rowOf: await ints(out.rowOf),
        tokenOf: await ints(out.tokenOf),
        offsets: await ints(out.offsets),
        counts: await ints(out.counts),
      };
      expect(got).toEqual(sortReference(experts, n, k, capacity, probs));
    }
  });

  // Compiling takes most of the time; the other forms are in the slow test.
  test.each(
    kinds.flatMap((kind) =>
      products.slice(0, name === 'swiftshader' ? 3 : 1).map((p) => [kind, ...p] as const),
    ),
  )('grouped %s of rows %j, %i×%i', (kind, sizes, n, k) =>
    checkGrouped(r(), kind, sizes, n, k, false),
  );

  test.each([
    [1, 1, 1],
    [7, 2, 13],
    [33, 3, 64],
  ])('combine of %i tokens of %i copies, %i columns', async (t, k, dim) => {
    const rand = random(t * dim);
    // A permutation with some copies dropped.
    const rowOf = Array.from({ length: t * k }, (_, i) => t * k - 1 - i);
    if (t > 1) rowOf[2] = rowOf[5] = 0xffffffff;
    const kept = rowOf.map((row) => (row === 0xffffffff ? 0 : 1));
    const [rows, weights, d, start] = [t * k * dim, t * k, t * dim, t * dim].map((s) =>
      normal(s, rand),
    ) as [Float32Array, Float32Array, Float32Array, Float32Array];
    const tensors = {
      rows: upload(r(), rows, [t * k, dim]),
      rowOf: upload(r(), Uint32Array.from(rowOf), [t, k], 'u32'),
    };
    const w = upload(r(), weights, [t, k]);
    const out = poisoned(r(), [t, dim]);
    moeCombine(r(), { ...tensors, weights: w, out });
    const want = combineReference(rows, rowOf, weights, k, dim);
    expectClose(await download(r(), out), want, 1e-5, 1e-6);
    const sum = upload(r(), start, [t, dim]);
    moeCombine(r(), { ...tensors, out: sum, accumulate: true });
    const plain = combineReference(rows, rowOf, new Float64Array(t * k).fill(1), k, dim);
    expectClose(
      await download(r(), sum),
      plain.map((v, i) => v + start[i]!),
      1e-5,
      1e-6,
    );
    const reference = combineBackwardReference(rows, rowOf, weights, d, k, dim);
    for (const workgroups of [false, true]) {
      const dRows = upload(r(), new Float32Array(rows.length), [t * k, dim]);
      const dWeights = poisoned(r(), [t, k]);
      const dOut = upload(r(), d, [t, dim]);
      moeCombineBackward(r(), { ...tensors, weights: w, dOut, dRows, dWeights }, workgroups);
      expectClose(await download(r(), dRows), reference.dRows, 1e-5, 1e-6);
      expectClose(await download(r(), dWeights), reference.dWeights, 1e-5, 1e-5);
    }
    expect(reference.dWeights.filter((v) => v === 0)).toHaveLength(
      kept.filter((v) => v === 0).length,
    );
  });

  test('shapes that do not fit are refused', () => {
    const t = (...shape: number[]) => r().alloc(shape);
    expect(() => {
      const [a, b, out] = [t(4, 3), t(6, 4), t(4, 2)];
      groupedMatmul(r(), { kind: 'forward', a, b, out, offsets: r().alloc([4], 'u32') });
    }).toThrow(/groupedMatmul 'forward'/);
  });
});
