import { SequenceSample } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { answerLogProbs, dpoLoss, pairAnswerMask, type DpoLossOptions } from './dpo.js';
import {
  compute,
  expectClose,
  expectGradient,
  expectMicrobatchInvariant,
  gaussian,
} from './test-losses.js';

interface Item {
  readonly prompt: number;
  /** Of chosen, rejected, chosen, …; some answers are empty. */
  readonly lens: readonly number[];
}
const items = fc.array(
  fc.integer({ min: 1, max: 4 }).chain((prompt) =>
    fc.record({
      prompt: fc.constant(prompt),
      lens: fc
        .array(fc.tuple(fc.nat({ max: 5 }), fc.nat({ max: 5 })), { minLength: 1, maxLength: 3 })
        .map((pairs) => pairs.flat().map((n) => prompt + n)),
    }),
  ),
  { minLength: 1, maxLength: 6 },
);

const numbers = (lens: readonly number[], seed: number, std = 1) => {
  const g = gaussian(seed);
  return lens.map((l) => Array.from({ length: l }, () => g(std)));
};
const logProbsOf = (all: readonly Item[], seed: number) =>
  numbers(
    all.flatMap((i) => i.lens.map((l) => l - 1)),
    seed,
  );
const refOf = (all: readonly Item[], seed: number) =>
  numbers([all.flatMap((i) => i.lens).length], seed + 1, 3)[0]!;

function sampleOf(all: readonly Item[], ref: readonly number[]): SequenceSample {
  return new SequenceSample({
    ids: all.map((_, i) => `p${i}`),
    seqlens: {
      packed_input_ids: all.map((i) => i.lens),
      prompt_lens: all.map(() => [1]),
      seqlogp: all.map((i) => i.lens.map(() => 1)),
    },
    data: {
      packed_input_ids: new Int32Array(all.flatMap((i) => i.lens).reduce((a, b) => a + b, 0)),
      prompt_lens: Int32Array.from(all, (i) => i.prompt),
      seqlogp: Float32Array.from(ref),
    },
    dtypes: { packed_input_ids: 'i32', prompt_lens: 'i32', seqlogp: 'f32' },
    trailingShapes: { packed_input_ids: [], prompt_lens: [], seqlogp: [] },
  });
}

/** From the papers' formulas, on ragged rows. */
function naive(
  all: readonly Item[],
  rows: readonly (readonly number[])[],
  ref: readonly number[],
  o: DpoLossOptions,
) {
  const ratios = all
    .flatMap((i) => i.lens.map(() => i.prompt))
    .map((prompt, s) => rows[s]!.slice(prompt - 1).reduce((a, b) => a + b, 0) - ref[s]!);
  const logSigmoid = (x: number) => -Math.log(1 + Math.exp(-x));
  const out = { loss: 0, acc: 0, pos: 0, neg: 0 };
  const pairs = ratios.length / 2;
  for (let s = 0; s < ratios.length; s += 2) {
    const h = ratios[s]! - ratios[s + 1]!;
    const e = o.labelSmoothing ?? 0;
    out.loss +=
      o.lossType === 'ipo'
        ? (h - 1 / (2 * o.beta)) ** 2
        : -(1 - e) * logSigmoid(o.beta * h) - e * logSigmoid(-o.beta * h);
    out.acc += +(h > 0);
    out.pos += o.beta * ratios[s]!;
    out.neg += o.beta * ratios[s + 1]!;
  }
  return {
    loss: out.loss / pairs,
    stats: [out.acc / pairs, out.pos / pairs, out.neg / pairs, (out.pos - out.neg) / pairs],
  };
}

const variants: [string, DpoLossOptions][] = [
  ['sigmoid', { beta: 0.1, lossType: 'sigmoid' }],
  ['sigmoid, large beta', { beta: 2, lossType: 'sigmoid' }],
  ['label smoothing', { beta: 0.5, lossType: 'sigmoid', labelSmoothing: 0.2 }],
  ['ipo', { beta: 0.3, lossType: 'ipo' }],
];

describe.each(variants)('dpo loss: %s', (_, options) => {
  const loss = dpoLoss(options);
  it('is the mean over pairs of the formula, with its gradient', () => {
    fc.assert(
      fc.property(items, fc.nat(), (all, seed) => {
        const [logProbs, ref] = [logProbsOf(all, seed), refOf(all, seed)];
        const want = naive(all, logProbs, ref, options);
        const out = compute(loss, sampleOf(all, ref), { logProbs });
        expectClose([out.loss], [want.loss]);
        const mean = (name: string) => out.stats![name]!.sum / out.stats![name]!.count;
        expectClose(['acc', 'pos_score', 'neg_score', 'margin'].map(mean), want.stats, 1e-5, 1e-5);
        expectGradient((x) => naive(all, x, ref, options).loss, logProbs, out.dLogProbs!, seed);
      }),
      { seed: 5, numRuns: 150 },
    );
  });

  it('defects 7 and 13: sums of a microbatch come from its own lengths, and microbatches add up', () => {
    fc.assert(
      fc.property(items, fc.nat(), (all, seed) => {
        const sample = sampleOf(all, refOf(all, seed));
        expectMicrobatchInvariant(loss, sample, { logProbs: logProbsOf(all, seed) }, seed);
      }),
      { seed: 6, numRuns: 100 },
    );
  });
});

describe('dpo on a batch of two', () => {
  const all = [
    { prompt: 2, lens: [4, 3] },
    { prompt: 1, lens: [2, 2, 1, 3] },
  ];
  const logProbs = logProbsOf(all, 1);
  it('asks for answers only, the first token after the prompt and EOS included', () => {
    expect([...pairAnswerMask(sampleOf(all, refOf(all, 1)))]).toEqual([
      ...[0, 1, 1],
      ...[0, 1],
      ...[1, 1, 1, 1],
    ]);
  });
  it('is log 2 with margins of exactly 0 where the policy is the reference', () => {
    const packed = Float32Array.from(logProbs.flat());
    const ref = answerLogProbs(sampleOf(all, refOf(all, 1)), packed);
    const out = compute(dpoLoss({ beta: 0.1, lossType: 'sigmoid' }), sampleOf(all, [...ref]), {
      logProbs,
    });
    expect(out.loss).toBeCloseTo(Math.log(2), 15);
    expect([out.stats!.margin!.sum, out.stats!.kl!.sum]).toEqual([0, -0]);
  });
  it('names what does not fit', () => {
    const sample = sampleOf(all, refOf(all, 1));
    expect(() => answerLogProbs(sample, new Float32Array(3))).toThrow(
      '3 log-probs for a sample that has 9',
    );
    const odd = [{ prompt: 1, lens: [2, 2, 2] }];
    expect(() => dpoLoss(variants[0]![1]).weight(sampleOf(odd, [0, 0, 0]))).toThrow(
      /id 'p0' has 3 sequences/,
    );
  });
});
