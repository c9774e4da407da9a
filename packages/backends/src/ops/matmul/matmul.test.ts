import { describe, expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, expectDirectional, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { matmul } from './matmul.js';
import { naiveMatmul } from './naive.js';
import { matmulReference } from './matmul.reference.js';

const layouts = [
  [false, true],
  [false, false],
  [true, false],
  [true, true],
] as const;

describe('reference', () => {
  test('dgrad and wgrad of x·Wᵀ are the other layouts', () => {
    const rand = random(1);
    const [m, n, k] = [3, 4, 5];
    const [x, w, d] = [normal(m * k, rand), normal(n * k, rand), normal(m * n, rand)];
    expectDirectional(
      ([a, b]) =>
        matmulReference(a!, b!, new Float64Array(m * n), m, n, k, false, true).reduce(
          (s, v, i) => s + v * d[i]!,
          0,
        ),
      [x, w],
      [
        matmulReference(d, w, new Float64Array(m * k), m, k, n),
        matmulReference(d, x, new Float64Array(n * k), n, k, m, true),
      ],
      rand,
    );
  });
});

onAdapters((r) => {
  const sizes = [
    [1, 1, 1],
    [3, 5, 7],
    [17, 20, 33],
    [64, 64, 64],
    [37, 129, 70],
    [5, 12, 515],
  ] as const;
  const cases = layouts.flatMap((l) => sizes.map((s) => [...l, ...s] as const));

  test.each(cases)('transA %s, transB %s, m n k = %i %i %i', async (transA, transB, m, n, k) => {
    const rand = random(m * n + k);
    const [a, b, bias, start] = [m * k, k * n, n, m * n].map((size) => normal(size, rand));
    const ta = upload(r(), a!, transA ? [k, m] : [m, k]);
    const tb = upload(r(), b!, transB ? [n, k] : [k, n]);
    const tBias = upload(r(), bias!);
    const tolerance = 1e-6 * Math.sqrt(k) * 3;
    const args = { a: ta, b: tb, transA, transB };
    const out = poisoned(r(), [m, n]);
    matmul(r(), { ...args, out });
    const want = matmulReference(a!, b!, new Float64Array(m * n), m, n, k, transA, transB);
    expectClose(await download(r(), out), want, 1e-5, tolerance);
    // One order of accumulation in all kernels.
    const naive = poisoned(r(), [m, n]);
    naiveMatmul(r(), { ...args, out: naive });
    expect(await download(r(), naive)).toEqual(await download(r(), out));
    const biased = poisoned(r(), [m, n]);
    matmul(r(), { ...args, out: biased, bias: tBias });
    const plusBias = want.map((v, i) => v + bias![i % n]!);
    expectClose(await download(r(), biased), plusBias, 1e-5, tolerance);
    const run = () => {
      const sum = upload(r(), start!, [m, n]);
      matmul(r(), { ...args, out: sum, bias: tBias, accumulate: true });
      return download(r(), sum);
    };
    const got = await run();
    expectClose(
      got,
      plusBias.map((v, i) => v + start![i]!),
      1e-5,
      tolerance,
    );
    expect(await run()).toEqual(got);
  });

  test('an addend is as a copy of it that the product is added to', async () => {
    const rand = random(3);
    const [m, n, k] = [5, 12, 33];
    const [a, b] = [
      upload(r(), normal(m * k, rand), [m, k]),
      upload(r(), normal(n * k, rand), [n, k]),
    ];
    const x = normal(m * n, rand);
    const [addend, copied] = [upload(r(), x, [m, n]), upload(r(), x, [m, n])];
    const out = poisoned(r(), [m, n]);
    matmul(r(), { a, b, transB: true, out, addend });
    matmul(r(), { a, b, transB: true, out: copied, accumulate: true });
    expect(await download(r(), out)).toEqual(await download(r(), copied));
    matmul(r(), { a, b, transB: true, out, addend, accumulate: true });
    const twice = await download(r(), copied);
    expectClose(
      await download(r(), out),
      Float64Array.from(twice, (y) => 2 * y),
      1e-5,
      1e-5,
    );
  });

  test('a row of x·Wᵀ is bit-equal whatever the number of rows', async () => {
    const rand = random(8);
    const [n, k] = [52, 67];
    const [x, w] = [normal(300 * k, rand), upload(r(), normal(n * k, rand), [n, k])];
    const rows = async (m: number) => {
      const out = poisoned(r(), [m, n]);
      matmul(r(), { a: upload(r(), x.slice(0, m * k), [m, k]), b: w, out, transB: true });
      return download(r(), out);
    };
    const all = await rows(300);
    for (const m of [1, 2, 7, 64, 130]) expect(await rows(m)).toEqual(all.slice(0, m * n));
  });

  test('shapes that do not fit are refused, no rows are no work', () => {
    const [a, b] = [poisoned(r(), [3, 4]), poisoned(r(), [5, 6])];
    expect(() => {
      matmul(r(), { a, b, out: poisoned(r(), [3, 6]) });
    }).toThrow(/f32 \[3, 4\] and f32 \[5, 6\]/);
    const before = r().counts.dispatches;
    matmul(r(), { a: r().alloc([0, 5]), b, out: r().alloc([0, 6]) });
    expect(r().counts.dispatches).toBe(before);
  });
});
