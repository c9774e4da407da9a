import { SequenceSample } from '@realhf/api';
import fc from 'fast-check';
import { expect, it } from 'vitest';

import { simpoLoss } from './simpo.js';
import {
  compute,
  expectClose,
  expectGradient,
  expectMicrobatchInvariant,
  gaussian,
  uniform,
} from './test-losses.js';

/** Items of one or two pairs after prompts of 1 to 3 tokens, answers of 1 to 5. */
function randomPairs(n: number, seed: number) {
  const u = uniform(seed);
  const g = gaussian(seed + 1);
  const prompts = Array.from({ length: n }, () => 1 + Math.floor(u() * 3));
  const lengths = prompts.map((p) =>
    Array.from({ length: u() < 0.5 ? 2 : 4 }, () => p + 1 + Math.floor(u() * 5)),
  );
  const sample = new SequenceSample({
    ids: prompts.map((_, i) => `p${i}`),
    seqlens: { packed_input_ids: lengths, prompt_lens: prompts.map(() => [1]) },
    data: {
      packed_input_ids: new Int32Array(lengths.flat().reduce((a, b) => a + b, 0)),
      prompt_lens: Int32Array.from(prompts),
    },
    dtypes: { packed_input_ids: 'i32', prompt_lens: 'i32' },
    trailingShapes: { packed_input_ids: [], prompt_lens: [] },
  });
  const logProbs = lengths.flat().map((l) => Array.from({ length: l - 1 }, () => g()));
  const begins = lengths.flatMap((item, i) => item.map(() => prompts[i]! - 1));
  return { sample, logProbs, begins };
}

const naive = (
  rows: readonly (readonly number[])[],
  begins: readonly number[],
  { beta, gamma, labelSmoothing }: { beta: number; gamma: number; labelSmoothing: number },
) => {
  const reward = rows.map((row, s) => {
    const answer = row.slice(begins[s]);
    return (beta * answer.reduce((a, b) => a + b, 0)) / answer.length;
  });
  let sum = 0;
  for (let s = 0; s < rows.length; s += 2) {
    const x = reward[s]! - reward[s + 1]! - gamma;
    sum -= (1 - labelSmoothing) * Math.log(1 / (1 + Math.exp(-x)));
    sum -= labelSmoothing * Math.log(1 / (1 + Math.exp(x)));
  }
  return sum / (rows.length / 2);
};

it.each([0, 0.1])('simpo with label smoothing %s, its gradient, microbatches', (labelSmoothing) => {
  const o = { beta: 2, gamma: 0.7, labelSmoothing };
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.nat(1e6), (n, seed) => {
      const { sample, logProbs, begins } = randomPairs(n, seed);
      const out = compute(simpoLoss(o), sample, { logProbs });
      expectClose([out.loss], [naive(logProbs, begins, o)]);
      expectGradient((x) => naive(x, begins, o), logProbs, out.dLogProbs!, seed);
      expectMicrobatchInvariant(simpoLoss(o), sample, { logProbs }, seed);
    }),
    { seed: 5, numRuns: 60 },
  );
});

it('a longer answer of the same log-prob per token wins nothing', () => {
  const { sample } = randomPairs(1, 3);
  const one = sample.seqlens.packed_input_ids![0]!.map((l) =>
    Array.from({ length: l - 1 }, () => -0.5),
  );
  const out = compute(simpoLoss({ beta: 2, gamma: 0.7 }), sample, { logProbs: one });
  expect(out.stats!.margin!.sum).toBeCloseTo(0, 12);
});
