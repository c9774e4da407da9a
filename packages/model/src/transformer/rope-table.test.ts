import type { RopeConfig } from '@realhf/api';
import { expect, it } from 'vitest';
import { llamaConfig } from '../params/test-configs.js';
import { ropeFrequencies, ropeTable } from './rope-table.js';

/** Frequencies of a head of 16 that transformers 5.24 computes (in f32). */
const yarns: readonly [string, Partial<RopeConfig>, readonly number[]][] = [
  [
    'whole bounds',
    { base: 10000, factor: 4, originalMaxPositions: 128 },
    [
      1, 0.23717081546783447, 0.04999999701976776, 0.007905694656074047, 0.0024999999441206455,
      0.0007905694656074047, 0.0002500000118743628, 7.905694656074047e-5,
    ],
  ],
  [
    'bounds between dimensions',
    { base: 5e5, factor: 8, originalMaxPositions: 64, betaFast: 16, betaSlow: 2, truncate: false },
    [
      1, 0.024240344762802124, 0.004700753837823868, 0.0009115831344388425, 0.00017677668074611574,
      3.428102354519069e-5, 6.647869668086059e-6, 1.289173155782919e-6,
    ],
  ],
];

it.each(yarns)('yarn, %s: the frequencies of transformers', (_, rope, want) => {
  const got = ropeFrequencies({ type: 'yarn', base: 10000, ...rope }, 16);
  expect(got).toHaveLength(8);
  want.forEach((w, i) => {
    expect(Math.abs(got[i]! / w - 1)).toBeLessThan(1e-6);
  });
});

it('yarn multiplies cos and sin', () => {
  const rope: RopeConfig = { type: 'yarn', base: 10000, factor: 4, originalMaxPositions: 16 };
  const plain = ropeTable(llamaConfig({ rope }))!;
  const scaled = ropeTable(llamaConfig({ rope: { ...rope, attentionFactor: 2 } }))!;
  expect(scaled).toEqual(plain.map((x) => 2 * x));
});

it('dynamic is the default up to the context', () => {
  expect(ropeTable(llamaConfig({ rope: { type: 'dynamic', base: 10000, factor: 2 } }))).toEqual(
    ropeTable(llamaConfig({ rope: { type: 'default', base: 10000 } })),
  );
});
