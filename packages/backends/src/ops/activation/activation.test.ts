import type { Activation } from '@realhf/api';
import { describe, expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, expectDirectional, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import {
  activation,
  activationBackward,
  gatedActivation,
  gatedActivationBackward,
} from './activation.js';
import {
  activationReference,
  activationSlopeReference,
  gatedBackwardReference,
  gatedReference,
} from './activation.reference.js';

const kinds: readonly Activation[] = ['gelu', 'gelu_tanh', 'silu', 'relu'];

describe.each(kinds)('reference of %s', (kind) => {
  test('gradients agree with differences', () => {
    const rand = random(3);
    const x = normal(64, rand, 2);
    const f = (v: Float64Array) =>
      v.reduce((s, a, i) => s + activationReference(kind, a) * (i % 5), 0);
    const grad = Float64Array.from(x, (a, i) => activationSlopeReference(kind, a) * (i % 5));
    expectDirectional(([v]) => f(v!), [x], [grad], rand);
    const d = normal(32, rand);
    expectDirectional(
      ([v]) => gatedReference(kind, v!, 8).reduce((s, a, i) => s + a * d[i]!, 0),
      [x],
      [gatedBackwardReference(kind, x, d, 8)],
      rand,
    );
  });
});

test('values of PyTorch', () => {
  expect(activationReference('gelu', 1)).toBeCloseTo(0.8413447460685429, 12);
  expect(activationReference('gelu', -3)).toBeCloseTo(-0.0040496940944931, 12);
  expect(activationReference('gelu_tanh', 1)).toBeCloseTo(0.8411919906082768, 12);
  expect(activationReference('silu', 1)).toBeCloseTo(0.7310585786300049, 12);
});

onAdapters((r) => {
  // Far tails too: nothing may overflow to NaN.
  const tails = Float32Array.of(0, -0, 1e-20, 9, -9, 11, -11, 90, -90, 1e4, -1e4, 1e20, -1e20);
  const numbers = Float32Array.of(...tails, ...normal(1012 - tails.length, random(5), 3));

  test.each(kinds.flatMap((kind) => [1009, 1012].map((n) => [kind, n] as const)))(
    '%s of %i',
    async (kind, n) => {
      const inputs = numbers.subarray(0, n);
      const d = normal(inputs.length, random(6));
      const [x, dOut] = [upload(r(), inputs), upload(r(), d)];
      const [out, dx] = [poisoned(r(), x.shape), poisoned(r(), x.shape)];
      activation(r(), kind, x, out);
      activationBackward(r(), kind, x, dOut, dx);
      const wantOut = Float64Array.from(inputs, (v) => activationReference(kind, v));
      const wantDx = Float64Array.from(inputs, (v, i) => d[i]! * activationSlopeReference(kind, v));
      expectClose(await download(r(), out), wantOut, 2e-6, 1e-6);
      expectClose(await download(r(), dx), wantDx, 2e-6, 2e-6);
      activationBackward(r(), kind, x, dOut, dOut);
      expect(await download(r(), dOut)).toEqual(await download(r(), dx));
    },
  );

  test.each(kinds.flatMap((kind) => [37, 40].map((inner) => [kind, inner] as const)))(
    'gated %s, %i columns',
    async (kind, inner) => {
      const rows = 13;
      const rand = random(7);
      const [gu, d] = [normal(rows * 2 * inner, rand, 2), normal(rows * inner, rand)];
      const gateUp = upload(r(), gu, [rows, 2 * inner]);
      const dOut = upload(r(), d, [rows, inner]);
      const [out, dGateUp] = [poisoned(r(), dOut.shape), poisoned(r(), gateUp.shape)];
      gatedActivation(r(), kind, gateUp, out);
      gatedActivationBackward(r(), kind, gateUp, dOut, dGateUp);
      expectClose(await download(r(), out), gatedReference(kind, gu, inner), 4e-6, 4e-6);
      const want = gatedBackwardReference(kind, gu, d, inner);
      expectClose(await download(r(), dGateUp), want, 4e-6, 8e-6);
      gatedActivationBackward(r(), kind, gateUp, dOut, gateUp);
      expect(await download(r(), gateUp)).toEqual(await download(r(), dGateUp));
    },
  );

  test('sizes that do not fit are refused', () => {
    const [x, y] = [poisoned(r(), [3, 4]), poisoned(r(), [3, 5])];
    expect(() => {
      activation(r(), 'relu', x, y);
    }).toThrow(/activation of \[3, 4\]/);
    expect(() => {
      gatedActivation(r(), 'relu', x, y);
    }).toThrow(/2·inner/);
  });
});
