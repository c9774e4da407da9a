/** Supervised fine-tuning: mean negative log-likelihood of the answer tokens. */
import type { Loss } from '@realhf/api';

import { answerMask, count } from './masks.js';
import { withProblem } from './problem.js';

/** −log p, a mean over the tokens outside of the prompt. */
export const sftLoss: Loss = withProblem({
  name: 'sft',
  needed: (sample) => answerMask(sample),
  weight: (sample) => count(answerMask(sample)),
  compute({ sample, cuSeqlens, logProbs = new Float32Array(), totalWeight }) {
    const mask = answerMask(sample);
    let nll = 0;
    let ppl = 0;
    let sequences = 0;
    const dLogProbs = new Float32Array(logProbs.length);
    for (let s = 0, j = 0; s + 1 < cuSeqlens.length; s++) {
      let sum = 0;
      let n = 0;
      for (let t = cuSeqlens[s]! + 1; t < cuSeqlens[s + 1]!; t++, j++) {
        if (!mask[j]) continue;
        sum -= logProbs[j]!;
        n++;
        dLogProbs[j] = -1 / totalWeight;
      }
      nll += sum;
      if (n === 0) continue;
      ppl += Math.exp(sum / n);
      sequences++;
    }
    return {
      loss: nll / totalWeight,
      dLogProbs,
      stats: { nll: { sum: nll, count: count(mask) }, ppl: { sum: ppl, count: sequences } },
    };
  },
});
