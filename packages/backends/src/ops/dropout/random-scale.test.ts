import { describe, expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { randomScale } from './random-scale.js';
import { philoxReference, randomFactorsReference } from './random-scale.reference.js';

describe('generator', () => {
  test('known answers of Philox2x32-10 (Random123)', () => {
    expect(philoxReference([0, 0], 0)).toEqual([0xff1dae59, 0x6cd10df2]);
    expect(philoxReference([0xffffffff, 0xffffffff], 0xffffffff)).toEqual([0x2c3f628b, 0xab4fd7ad]);
    expect(philoxReference([0x243f6a88, 0x85a308d3], 0x13198a2e)).toEqual([0xdd7ce038, 0xf62a4c12]);
  });

  test('keep rate, and independence of rows, streams and neighbours', () => {
    const [rows, columns, amount] = [200, 250, 0.1];
    const keys = Uint32Array.from({ length: rows }, (_, i) => i);
    const mask = (stream: number) =>
      randomFactorsReference(keys, columns, { stream, kind: 'dropout', amount });
    const [one, two] = [mask(3), mask(4)];
    const n = rows * columns;
    const dropped = (at: number) => (one[at] === 0 ? 1 : 0);
    const pairs = (other: (at: number) => number) => {
      let both = 0;
      for (let i = 0; i < n; i++) both += dropped(i) * other(i);
      return both / n;
    };
    // Within four standard deviations.
    const near = (got: number, p: number) => {
      expect(Math.abs(got - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / n));
    };
    near(
      pairs(() => 1),
      amount,
    );
    near(
      pairs((i) => (two[i] === 0 ? 1 : 0)),
      amount ** 2,
    );
    near(
      pairs((i) => dropped((i + 1) % n)),
      amount ** 2,
    );
    near(
      pairs((i) => dropped((i + columns) % n)),
      amount ** 2,
    );
  });
});

onAdapters((r) => {
  const keysOf = (n: number, rand: () => number) =>
    Uint32Array.from({ length: n }, () => Math.floor(rand() * 2 ** 32));

  test.each([
    [1, 1, 'dropout', 0.1],
    [7, 13, 'dropout', 0.5],
    [33, 64, 'dropout', 0.1],
    [5, 31, 'jitter', 0.01],
    [3, 8, 'dropout', 0],
  ] as const)('%i×%i %s %d', async (rows, columns, kind, amount) => {
    const rand = random(rows * columns);
    const x = normal(rows * columns, rand);
    const keys = keysOf(rows, rand);
    const args = { keys: upload(r(), keys, [rows], 'u32'), stream: 17, kind, amount };
    const factors = randomFactorsReference(keys, columns, args);
    const want = factors.map((f, i) => f * x[i]!);
    const out = poisoned(r(), [rows, columns]);
    const input = upload(r(), x, [rows, columns]);
    randomScale(r(), { ...args, x: input, out });
    const got = await download(r(), out);
    expectClose(got, want, 1e-6, 1e-7);
    randomScale(r(), { ...args, x: input, out, accumulate: true });
    expectClose(
      await download(r(), out),
      want.map((v) => 2 * v),
      1e-6,
      1e-7,
    );
    randomScale(r(), { ...args, x: input, out: input });
    expect(await download(r(), input)).toEqual(got);
  });

  test('refuses an amount of 1', () => {
    const x = r().alloc([2, 2]);
    expect(() => {
      randomScale(r(), {
        x,
        out: x,
        keys: r().alloc([2], 'u32'),
        stream: 0,
        kind: 'dropout',
        amount: 1,
      });
    }).toThrow(/amount in \[0, 1\)/);
  });
});
