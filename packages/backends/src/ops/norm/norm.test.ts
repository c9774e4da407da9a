import type { NormArgs } from '@realhf/api';
import { describe, expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, expectDirectional, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { norm, normBackward, type NormVariant } from './norm.js';
import { rowConstants, rowKernels } from './norm-kernels.js';
import { normBackwardReference, normReference } from './norm.reference.js';

const kinds: readonly NormArgs['kind'][] = ['layer', 'rms', 'gemma'];
const eps = 1e-5;

function example(kind: NormArgs['kind'], rows: number, dim: number, seed: number) {
  const rand = random(seed);
  return {
    kind,
    eps,
    x: normal(rows * dim, rand, 2).map((v) => v + 0.7),
    weight: normal(dim, rand),
    ...(kind === 'layer' ? { bias: normal(dim, rand) } : {}),
    dOut: normal(rows * dim, rand),
  };
}

describe.each(kinds)('reference of %s', (kind) => {
  test('gradients agree with differences', () => {
    const p = example(kind, 5, 7, 1);
    const { dx, dWeight, dBias } = normBackwardReference(p, p.dOut);
    expectDirectional(
      ([x, weight, bias]) =>
        normReference({ kind, eps, x: x!, weight: weight!, ...(bias ? { bias } : {}) }).out.reduce(
          (s, v, i) => s + v * p.dOut[i]!,
          0,
        ),
      [p.x, p.weight, ...(p.bias ? [p.bias] : [])],
      [dx, dWeight, ...(p.bias ? [dBias] : [])],
      random(2),
    );
  });
});

onAdapters((r) => {
  const shapes = [
    [1, 1],
    [7, 48],
    [67, 37],
    [3, 515],
  ] as const;
  const variants: readonly NormVariant[] = ['rows', 'workgroup'];
  // Kernels with barriers compile slowly on software adapters.
  const cases = [
    ...kinds.flatMap((kind) => shapes.map((s) => [kind, 'rows', ...s] as const)),
    ['layer', 'workgroup', 67, 37],
    ['layer', 'workgroup', 7, 48],
    ['rms', 'workgroup', 1, 1],
    ['rms', 'workgroup', 71, 72],
    ['gemma', 'workgroup', 3, 515],
  ] as const;

  test.each(cases)('%s, %s, [%i, %i]', async (kind, variant, rows, dim) => {
    const p = example(kind, rows, dim, rows + dim);
    const start = normal(dim, random(9));
    const x = upload(r(), p.x, [rows, dim]);
    const weight = upload(r(), p.weight);
    const bias = p.bias ? { bias: upload(r(), p.bias) } : {};
    const dOut = upload(r(), p.dOut, [rows, dim]);
    const run = async () => {
      const out = poisoned(r(), [rows, dim]);
      const stats = poisoned(r(), [rows, 2]);
      const dx = poisoned(r(), [rows, dim]);
      const [dWeight, dBias] = [upload(r(), start), upload(r(), start)];
      norm(r(), { x, weight, ...bias, kind, eps, out, stats }, variant);
      const back = { x, weight, kind, eps, stats, dOut, dx, dWeight, dBias };
      normBackward(r(), back, variant);
      return Promise.all([out, stats, dx, dWeight, dBias].map((t) => download(r(), t)));
    };
    const got = await run();
    const want = normReference(p);
    const grad = normBackwardReference(p, p.dOut);
    expectClose(got[0]!, want.out, 5e-6, 5e-6);
    expectClose(got[1]!, want.stats, 5e-6, 1e-6);
    expectClose(got[2]!, grad.dx, 1e-5, 1e-5);
    expectClose(
      got[3]!,
      grad.dWeight.map((v, i) => v + start[i]!),
      1e-5,
      2e-5,
    );
    expectClose(
      got[4]!,
      grad.dBias.map((v, i) => v + start[i]!),
      1e-5,
      2e-5,
    );
    expect(await run()).toEqual(got);
  });

  test.each(variants)('%s: accumulate adds to dx', async (variant) => {
    const p = example('rms', 9, 33, 4);
    const x = upload(r(), p.x, [9, 33]);
    const stats = poisoned(r(), [9, 2]);
    const weight = upload(r(), p.weight);
    norm(r(), { x, weight, kind: 'rms', eps, out: poisoned(r(), [9, 33]), stats }, variant);
    const dx = upload(r(), p.x, [9, 33]);
    const dOut = upload(r(), p.dOut, [9, 33]);
    const dWeight = upload(r(), p.weight);
    const args = {
      x,
      weight,
      kind: 'rms',
      eps,
      stats,
      dOut,
      dx,
      dWeight,
      accumulate: true,
    } as const;
    normBackward(r(), args, variant);
    const grad = normBackwardReference(p, p.dOut);
    expectClose(
      await download(r(), dx),
      grad.dx.map((v, i) => v + p.x[i]!),
      1e-5,
      1e-5,
    );
  });

  test.each(variants)('%s: a row does not depend on its batch', async (variant) => {
    const p = example('layer', 33, 65, 5);
    const weight = upload(r(), p.weight);
    const bias = upload(r(), p.bias!);
    const forward = async (rows: number) => {
      const x = upload(r(), p.x.slice(0, rows * 65), [rows, 65]);
      const out = poisoned(r(), [rows, 65]);
      const stats = poisoned(r(), [rows, 2]);
      norm(r(), { x, weight, bias, kind: 'layer', eps, out, stats }, variant);
      return download(r(), out);
    };
    expect(await forward(2)).toEqual((await forward(33)).slice(0, 130));
  });

  test('four columns at a time and one by one are equal to the bit', async () => {
    const [rows, dim] = [3, 72];
    const p = example('rms', rows, dim, 8);
    const [x, weight] = [upload(r(), p.x, [rows, dim]), upload(r(), p.weight)];
    const outs = [0, 1].map(() => poisoned(r(), [rows, dim]));
    const stats = poisoned(r(), [rows, 2]);
    norm(r(), { x, weight, kind: 'rms', eps, out: outs[0]!, stats }, 'workgroup');
    const { plain } = rowKernels.workgroup;
    const tensors = [outs[1]!, stats, x, weight];
    const constants = rowConstants('workgroup', 'rms', dim);
    r().run(plain, constants, tensors, { rows, dim, eps }, [rows, 1, 1]);
    expect(await download(r(), outs[1]!)).toEqual(await download(r(), outs[0]!));
  });

  test('sizes that do not fit are refused', () => {
    const x = poisoned(r(), [3, 4]);
    const weight = poisoned(r(), [5]);
    expect(() => {
      norm(r(), { x, weight, kind: 'rms', eps, out: x, stats: x });
    }).toThrow(/weight of 5/);
  });
});
