import { SequenceSample } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { pairedRewardLoss, softplus } from './paired-rw.js';
import {
  compute,
  expectClose,
  expectGradient,
  expectMicrobatchInvariant,
  gaussian,
} from './test-losses.js';

/** Per item the lengths of chosen, rejected, chosen, … */
const items = fc.array(
  fc
    .array(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 })), {
      minLength: 1,
      maxLength: 3,
    })
    .map((pairs) => pairs.flat()),
  { minLength: 1, maxLength: 6 },
);

function sampleOf(lens: readonly (readonly number[])[]): SequenceSample {
  return new SequenceSample({
    ids: lens.map((_, i) => `p${i}`),
    seqlens: { packed_input_ids: lens },
    data: { packed_input_ids: new Int32Array(lens.flat().reduce((a, b) => a + b, 0)) },
    dtypes: { packed_input_ids: 'i32' },
    trailingShapes: { packed_input_ids: [] },
  });
}
function valuesOf(lens: readonly (readonly number[])[], seed: number, std: number): number[][] {
  const g = gaussian(seed);
  return lens.flat().map((l) => Array.from({ length: l }, () => g(std)));
}
/** Mean over items of the mean over pairs of −log σ(s⁺ − s⁻), a score being the value of the last token. */
function naive(lens: readonly (readonly number[])[], values: readonly (readonly number[])[]) {
  const scores = values.map((v) => v[v.length - 1]!);
  let sum = 0;
  let row = 0;
  for (const item of lens) {
    let own = 0;
    for (let p = 0; p < item.length; p += 2, row += 2)
      own += -Math.log(1 / (1 + Math.exp(-(scores[row]! - scores[row + 1]!))));
    sum += own / (item.length / 2);
  }
  const even = scores.filter((_, i) => i % 2 === 0);
  const odd = scores.filter((_, i) => i % 2 === 1);
  const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
  return {
    loss: sum / lens.length,
    acc: mean(even.map((s, i) => (s > odd[i]! ? 1 : 0))),
    pos: mean(even),
    neg: mean(odd),
  };
}

describe('paired reward loss', () => {
  it('is the Bradley–Terry loss of last-token scores, with its gradient', () => {
    fc.assert(
      fc.property(items, fc.nat(), fc.constantFrom(0.5, 3, 10), (lens, seed, std) => {
        const values = valuesOf(lens, seed, std);
        const want = naive(lens, values);
        const out = compute(pairedRewardLoss, sampleOf(lens), { values });
        expectClose([out.loss], [want.loss]);
        const mean = (name: string) => out.stats![name]!.sum / out.stats![name]!.count;
        expectClose(['acc', 'pos_score', 'neg_score'].map(mean), [want.acc, want.pos, want.neg]);
        expectGradient((x) => naive(lens, x).loss, values, out.dValues!, seed);
      }),
      { seed: 3, numRuns: 200 },
    );
  });

  it('defect 23: the loss of a batch repeated is the loss of the batch, its gradient is shared', () => {
    const lens = [
      [3, 2],
      [1, 4, 2, 2],
    ];
    const values = valuesOf(lens, 7, 1);
    const once = compute(pairedRewardLoss, sampleOf(lens), { values });
    const twice = compute(pairedRewardLoss, sampleOf([...lens, ...lens]), {
      values: [...values, ...values],
    });
    expectClose([twice.loss], [once.loss], 1e-12);
    expectClose(
      twice.dValues!,
      [...once.dValues!, ...once.dValues!].map((d) => d / 2),
    );
  });

  it('defect 13: microbatches of any cut add up', () => {
    fc.assert(
      fc.property(items, fc.nat(), (lens, seed) => {
        const values = valuesOf(lens, seed, 2);
        expectMicrobatchInvariant(pairedRewardLoss, sampleOf(lens), { values }, seed);
      }),
      { seed: 4, numRuns: 100 },
    );
  });

  it('stays finite at extreme margins', () => {
    expect([softplus(-1e4), softplus(1e4)]).toEqual([0, 1e4]);
    const out = compute(
      pairedRewardLoss,
      sampleOf([
        [1, 1],
        [1, 1],
      ]),
      {
        values: [[1e4], [-1e4], [-1e4], [1e4]],
      },
    );
    expectClose([out.loss], [1e4]);
    expectClose(out.dValues!, [0, 0, -0.5, 0.5]);
  });

  it('names an item without pairs', () => {
    const run = () =>
      compute(
        pairedRewardLoss,
        sampleOf([
          [2, 2],
          [1, 2, 3],
        ]),
        { values: [] },
      );
    expect(run).toThrow(/id 'p1' has 3 sequences; a preference item has pairs/);
  });
});
