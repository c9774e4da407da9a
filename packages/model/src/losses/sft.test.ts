import { SequenceSample } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { answerMask } from './masks.js';
import { sftLoss } from './sft.js';
import {
  compute,
  expectClose,
  expectGradient,
  expectMicrobatchInvariant,
  gaussian,
} from './test-losses.js';

interface Shape {
  readonly length: number;
  readonly prompt: number;
}
const shapes = fc.array(
  fc
    .tuple(fc.integer({ min: 1, max: 9 }), fc.nat(9))
    .map(([length, prompt]) => ({ length, prompt: Math.min(prompt, length) })),
  { minLength: 1, maxLength: 8 },
);

function sampleOf(seqs: readonly Shape[]): SequenceSample {
  return SequenceSample.fromDefault({
    ids: seqs.map((_, i) => `s${i}`),
    seqlens: seqs.map((s) => s.length),
    data: {
      packed_input_ids: Int32Array.from({ length: seqs.reduce((n, s) => n + s.length, 0) }),
      prompt_mask: Uint8Array.from(
        seqs.flatMap((s) => Array.from({ length: s.length }, (_, t) => (t < s.prompt ? 1 : 0))),
      ),
    },
  });
}
const logProbsOf = (seqs: readonly Shape[], seed: number) => {
  const g = gaussian(seed);
  return seqs.map((s) => Array.from({ length: s.length - 1 }, () => -Math.abs(g(3))));
};

/** Token t of a sequence has log-prob p[t − 1] and counts unless it is a prompt token; token 0 has none. */
function answers(seq: Shape, p: readonly number[]): number[] {
  const out: number[] = [];
  for (let t = 1; t < seq.length; t++) if (t >= seq.prompt) out.push(p[t - 1]!);
  return out;
}
function naive(seqs: readonly Shape[], p: readonly (readonly number[])[]) {
  const each = seqs.map((s, i) => answers(s, p[i]!)).filter((a) => a.length > 0);
  const tokens = each.flat();
  const mean = (xs: number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
  return {
    loss: -mean(tokens),
    ppl: mean(each.map((a) => Math.exp(-mean(a)))),
    tokens: tokens.length,
  };
}

describe('sft loss', () => {
  it('is the mean negative log-likelihood of answer tokens, with its gradient', () => {
    fc.assert(
      fc.property(shapes, fc.nat(), (seqs, seed) => {
        const sample = sampleOf(seqs);
        const p = logProbsOf(seqs, seed);
        const want = naive(seqs, p);
        expect(sftLoss.weight(sample)).toBe(want.tokens);
        fc.pre(want.tokens > 0);
        const out = compute(sftLoss, sample, { logProbs: p });
        expectClose([out.loss], [want.loss]);
        const { ppl, nll } = out.stats!;
        expectClose([nll!.sum / nll!.count, ppl!.sum / ppl!.count], [want.loss, want.ppl]);
        expectGradient((x) => naive(seqs, x).loss, p, out.dLogProbs!, seed);
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  it('defect 13: microbatches of any cut add up to the token mean of the whole batch', () => {
    fc.assert(
      fc.property(shapes, fc.nat(), (seqs, seed) => {
        const sample = sampleOf(seqs);
        fc.pre(sftLoss.weight(sample) > 0);
        expectMicrobatchInvariant(sftLoss, sample, { logProbs: logProbsOf(seqs, seed) }, seed);
      }),
      { seed: 2, numRuns: 100 },
    );
  });

  it('masks by the predicted token: the last prompt token predicts the first answer token', () => {
    const sample = sampleOf([
      { length: 4, prompt: 2 },
      { length: 1, prompt: 1 },
      { length: 2, prompt: 2 },
      { length: 2, prompt: 1 },
    ]);
    expect([...answerMask(sample)]).toEqual([0, 1, 1, 0, 1]);
    expect([...sftLoss.needed!(sample)]).toEqual([0, 1, 1, 0, 1]);
  });

  it('has no tokens in a batch of prompts', () => {
    const sample = sampleOf([{ length: 3, prompt: 3 }]);
    const out = compute(sftLoss, sample, { logProbs: [[-1, -2]] }, 5);
    expect(out.loss).toBeCloseTo(0, 12);
    expect([...out.dLogProbs!]).toEqual([0, 0]);
  });
});
