import { describe, expect, test } from 'vitest';

import { upload } from '../../testing/device-data.js';
import { expectDirectional, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { cases, expectAttention, setup, type Case } from '../attention/attention-checks.js';
import {
  attentionBackwardReference,
  attentionReference,
} from '../attention/attention.reference.js';
import { dropoutAttention, dropoutAttentionBackward } from './attention-dropout.js';
import { philoxReference, uniformReference } from './random-scale.reference.js';

const [stream, amount] = [12, 0.3];

function noise(c: Case) {
  const rand = random(c.lengths.length);
  const total = c.lengths.reduce((a, b) => a + b, 0);
  const keys = Uint32Array.from({ length: total }, () => Math.floor(rand() * 2 ** 32));
  const factor = (t: number, h: number, key: number) => {
    const head = h + (c.qHeadOffset ?? 0);
    const [word] = philoxReference([t - key, stream * 65536 + head], keys[t]!);
    return uniformReference(word) < Math.fround(amount) ? 0 : 1 / (1 - amount);
  };
  return { keys, factor };
}

describe('reference', () => {
  test('gradient', () => {
    const c = cases.find((x) => x.name === 'grouped heads')!;
    const { shape, q, k, v, dOut } = setup(c);
    const s = { ...shape, factor: noise(c).factor };
    const g = attentionBackwardReference(s, q, k, v, dOut);
    expectDirectional(
      ([a, b, d]) => attentionReference(s, a!, b!, d!).out.reduce((n, x, i) => n + x * dOut[i]!, 0),
      [q, k, v],
      [g.dq, g.dk, g.dv],
      random(3),
    );
    expect(g.dq.some((x) => x !== 0)).toBe(true);
  });
});

onAdapters((r) => {
  test.each(cases)('$name', async (c) => {
    const { keys, factor } = noise(c);
    const dropout = { keys: upload(r(), keys, [keys.length], 'u32'), stream, amount };
    await expectAttention(
      r(),
      c,
      (recorder, args) => {
        dropoutAttention(recorder, args, dropout);
      },
      (recorder, args) => {
        dropoutAttentionBackward(recorder, args, dropout);
      },
      factor,
    );
  });
});
