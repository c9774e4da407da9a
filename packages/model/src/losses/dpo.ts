/**
 * Direct preference optimization (Rafailov et al., arXiv 2305.18290) on items of sequences chosen, rejected, chosen, …
 * with `prompt_lens` (one per item) and `seqlogp` (the reference's log-prob of every answer). Loss: mean over pairs, so
 * microbatches and ranks don't change it. Variants: label smoothing (cDPO, Mitchell 2023) and IPO (Azar et al., arXiv
 * 2310.12036, with summed log-probs as in the paper).
 */
import { DataError, type Loss, type SequenceSample } from '@realhf/api';

import { pairsOf, softplus } from './paired-rw.js';
import { withProblem } from './problem.js';

/** Options of dpoLoss. */
export interface DpoLossOptions {
  /** Strength of the pull to the reference: a small one lets the policy move far. */
  readonly beta: number;
  readonly lossType: 'sigmoid' | 'ipo';
  /** Probability that a label is wrong (sigmoid only). Default 0. */
  readonly labelSmoothing?: number;
}

/** Calls `each(s, begin, end)` with the shifted entries of every sequence's answer, EOS included; empty answers too. */
export function eachAnswer(
  sample: SequenceSample,
  each: (s: number, begin: number, end: number) => void,
): void {
  const promptLens = sample.i32('prompt_lens');
  if (promptLens.length !== sample.bs)
    throw new DataError(
      `'prompt_lens' has ${promptLens.length} entries for ${sample.bs} items; give one per item`,
    );
  let s = 0;
  let at = 0;
  sample.seqlens.packed_input_ids!.forEach((lens, i) => {
    for (const length of lens) {
      const end = at + Math.max(0, length - 1);
      each(s++, Math.min(end, at + Math.max(0, promptLens[i]! - 1)), end);
      at = end;
    }
  });
}

/** u8 [Σ(L−1)]: 1 on entries of answers. */
export function pairAnswerMask(sample: SequenceSample): Uint8Array {
  const lengths = sample.lengths('packed_input_ids');
  const out = new Uint8Array(lengths.reduce((n, l) => n + Math.max(0, l - 1), 0));
  eachAnswer(sample, (_, begin, end) => out.fill(1, begin, end));
  return out;
}

/**
 * f32 [sequences]: log-prob of each answer, summed in f64. `logProbs` [Σ(L−1)] are those of this very sample: sums of a
 * microbatch come from the lengths of that microbatch.
 */
export function answerLogProbs(sample: SequenceSample, logProbs: Float32Array): Float32Array {
  const lengths = sample.lengths('packed_input_ids');
  const want = lengths.reduce((n, l) => n + Math.max(0, l - 1), 0);
  if (logProbs.length !== want)
    throw new DataError(`${logProbs.length} log-probs for a sample that has ${want}`);
  const out = new Float32Array(lengths.length);
  eachAnswer(sample, (s, begin, end) => {
    let sum = 0;
    for (let j = begin; j < end; j++) sum += logProbs[j]!;
    out[s] = sum;
  });
  return out;
}

/** Loss of a pair and its slope in the margin h = (log-ratio of chosen) − (log-ratio of rejected). */
function pairLoss(h: number, o: DpoLossOptions): [number, number] {
  if (o.lossType === 'ipo') {
    const d = h - 1 / (2 * o.beta);
    return [d * d, 2 * d];
  }
  const eps = o.labelSmoothing ?? 0;
  const x = o.beta * h;
  const wrong = 1 / (1 + Math.exp(x));
  return [(1 - eps) * softplus(-x) + eps * softplus(x), o.beta * (eps - wrong)];
}

/** The loss of DPO (Rafailov et al. 2023) over pairs of a better and a worse answer. */
export function dpoLoss(o: DpoLossOptions): Loss {
  const loss: Loss = {
    name: 'dpo',
    needed: pairAnswerMask,
    weight: (sample) => pairsOf(sample).reduce((a, b) => a + b, 0),
    compute({ sample, logProbs = new Float32Array(), totalWeight }) {
      const pairs = pairsOf(sample).reduce((a, b) => a + b, 0);
      // Rounded like the reference's sums: before the first step every margin is exactly 0.
      const policy = answerLogProbs(sample, logProbs);
      const ref = sample.f32('seqlogp');
      if (ref.length !== policy.length)
        throw new DataError(
          `'seqlogp' has ${ref.length} entries for ${policy.length} sequences; give one per sequence`,
        );
      const slopes = new Float64Array(policy.length);
      const sums = { loss: 0, acc: 0, pos: 0, neg: 0 };
      for (let p = 0; p < pairs; p++) {
        const pos = policy[2 * p]! - ref[2 * p]!;
        const neg = policy[2 * p + 1]! - ref[2 * p + 1]!;
        const [loss, slope] = pairLoss(pos - neg, o);
        sums.loss += loss;
        slopes[2 * p] = slope / totalWeight;
        slopes[2 * p + 1] = -slope / totalWeight;
        sums.acc += pos > neg ? 1 : 0;
        sums.pos += pos;
        sums.neg += neg;
      }
      const dLogProbs = new Float32Array(logProbs.length);
      eachAnswer(sample, (s, begin, end) => dLogProbs.fill(slopes[s]!, begin, end));
      const mean = (sum: number) => ({ sum, count: pairs });
      return {
        loss: sums.loss / totalWeight,
        dLogProbs,
        stats: {
          acc: mean(sums.acc),
          pos_score: mean(o.beta * sums.pos),
          neg_score: mean(o.beta * sums.neg),
          margin: mean(o.beta * (sums.pos - sums.neg)),
          kl: mean(-(sums.pos + sums.neg)),
        },
      };
    },
  };
  return withProblem(loss, ['seqlogp']);
}
