/**
 * SimPO (Meng et al., arXiv 2405.14734) on items of pairs, as DPO's: −log σ(β·(mean log π(chosen) − mean log
 * π(rejected)) − γ). No reference: an answer's reward is its mean log-prob per token, so length is no advantage.
 */
import type { Loss } from '@realhf/api';

import { eachAnswer, pairAnswerMask } from './dpo.js';
import { pairsOf, softplus } from './paired-rw.js';
import { withProblem } from './problem.js';

/** Options of simpoLoss. */
export interface SimpoLossOptions {
  /** Scale of the rewards. */
  readonly beta: number;
  /** The margin by which the better answer should lead. */
  readonly gamma: number;
  /** Probability that a label is wrong. Default 0. */
  readonly labelSmoothing?: number;
}

/** The loss of SimPO (Meng et al. 2024) over pairs of a better and a worse answer. */
export function simpoLoss(o: SimpoLossOptions): Loss {
  const smoothing = o.labelSmoothing ?? 0;
  return withProblem({
    name: 'simpo',
    needed: pairAnswerMask,
    weight: (sample) => pairsOf(sample).reduce((a, b) => a + b, 0),
    compute({ sample, logProbs = new Float32Array(), totalWeight }) {
      const pairs = pairsOf(sample).reduce((a, b) => a + b, 0);
      const rewards = new Float64Array(2 * pairs);
      const lengths = new Float64Array(2 * pairs);
      eachAnswer(sample, (s, begin, end) => {
        let sum = 0;
        for (let j = begin; j < end; j++) sum += logProbs[j]!;
        lengths[s] = Math.max(1, end - begin);
        rewards[s] = (o.beta * sum) / lengths[s];
      });
      const slopes = new Float64Array(2 * pairs);
      const sums = { loss: 0, acc: 0, pos: 0, neg: 0 };
      for (let p = 0; p < pairs; p++) {
        const pos = rewards[2 * p]!;
        const neg = rewards[2 * p + 1]!;
        const x = pos - neg - o.gamma;
        sums.loss += (1 - smoothing) * softplus(-x) + smoothing * softplus(x);
        const slope = (o.beta * (smoothing - 1 / (1 + Math.exp(x)))) / totalWeight;
        slopes[2 * p] = slope / lengths[2 * p]!;
        slopes[2 * p + 1] = -slope / lengths[2 * p + 1]!;
        sums.acc += +(pos > neg);
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
          pos_score: mean(sums.pos),
          neg_score: mean(sums.neg),
          margin: mean(sums.pos - sums.neg),
        },
      };
    },
  });
}
