import { expect, test } from 'vitest';

import { expectDirectional } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { attentionBackward } from './attention-backward.js';
import { cases, expectAttention, expectDecode, rand, setup } from './attention-checks.js';
import { attention } from './attention.js';
import { attentionBackwardReference, attentionReference } from './attention.reference.js';

test('the reference gradient is the derivative of the reference', () => {
  for (const c of cases) {
    const { shape, q, k, v, dOut } = setup(c);
    const g = attentionBackwardReference(shape, q, k, v, dOut);
    expectDirectional(
      ([a, b, d]) =>
        attentionReference(shape, a!, b!, d!).out.reduce((s, x, i) => s + x * dOut[i]!, 0),
      [q, k, v],
      [g.dq, g.dk, g.dv],
      rand,
    );
  }
});

onAdapters((r) => {
  test.each(cases)('$name: forward and backward', async (c) => {
    await expectAttention(r(), c, attention, attentionBackward);
  });

  test('decode over a cache is bit-equal to packed training, and alone to in a batch', async () => {
    // Enough queries for the kernel that takes four at a time.
    await expectDecode(r(), 302, attention, attention);
  });

  test('bad shapes are refused', () => {
    const t = r().alloc([64]);
    const x = { tensor: t, offset: 0, stride: 6 };
    const a = { q: x, k: x, v: x, kvRange: t, out: t, tQ: 1, scale: 1 };
    expect(() => {
      attention(r(), { ...a, nHeads: 1, nKvHeads: 1, headDim: 6 });
    }).toThrow(/head_dim 6/);
    expect(() => {
      attention(r(), { ...a, nHeads: 1, nKvHeads: 1, headDim: 4 });
    }).toThrow(/multiples of 4/);
    expect(() => {
      attention(r(), { ...a, nHeads: 4, nKvHeads: 2, headDim: 4, group: 1 });
    }).toThrow(/need kv heads 0 to 3/);
  });
});
