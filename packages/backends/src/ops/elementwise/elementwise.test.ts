import { expect, test } from 'vitest';

import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { add, copy, fill, scale } from './elementwise.js';

onAdapters((r) => {
  const up = (data: Float32Array) => {
    const t = r().alloc([data.length]);
    r().write(t, data);
    return t;
  };
  const down = async (t: ReturnType<typeof up>) => new Float32Array(await r().read(t));

  test.each([1003, 1004])('add and scale %i, out of place and in place', async (n) => {
    const rand = random(1);
    const [a, b] = [normal(n, rand), normal(n, rand)];
    const [ta, tb, to] = [up(a), up(b), up(new Float32Array(n))];
    add(r(), ta, tb, to);
    expectClose(
      await down(to),
      a.map((x, i) => x + b[i]!),
    );
    scale(r(), ta, -2, to);
    expectClose(
      await down(to),
      a.map((x) => -2 * x),
    );
    add(r(), ta, tb, ta);
    scale(r(), ta, 0.5, ta);
    expectClose(
      await down(ta),
      a.map((x, i) => (x + b[i]!) / 2),
    );
  });

  test('fill and copy with offsets leave the rest alone', async () => {
    const src = up(Float32Array.from({ length: 300 }, (_, i) => i));
    const dst = up(new Float32Array(300));
    fill(r(), dst, 7);
    copy(r(), src, dst, 100, 50, 120);
    const got = await down(dst);
    expect([got[119], got[120], got[219], got[220]]).toEqual([7, 50, 149, 7]);
  });

  test.each([
    [5000, 4, 8],
    [4096, 0, 0],
    [20, 12, 4],
  ])('copy of %i from %i to %i, four at a time', async (count, from, to) => {
    const src = up(Float32Array.from({ length: 6000 }, (_, i) => i + 1));
    const dst = up(new Float32Array(6000));
    copy(r(), src, dst, count, from, to);
    const want = Array.from({ length: 6000 }, (_, i) =>
      i >= to && i < to + count ? i - to + from + 1 : 0,
    );
    expect([...(await down(dst))]).toEqual(want);
  });

  test('a write after recorded work is seen only by later work', async () => {
    const x = up(Float32Array.of(1, 1));
    const y = up(Float32Array.of(0, 0));
    add(r(), y, x, y);
    r().write(x, Float32Array.of(10, 10));
    add(r(), y, x, y);
    expect([...(await down(y))]).toEqual([11, 11]);
  });

  test('a freed tensor is refused', () => {
    const x = up(Float32Array.of(1));
    r().free(x);
    expect(() => {
      fill(r(), x, 0);
    }).toThrow(/after it was freed/);
  });
});
