/**
 * Pairwise reward model (Bradley–Terry): an item holds sequences pos, neg, pos, neg, …; a sequence's score is the
 * value of its last token. Loss: mean over items of the mean over the item's pairs of −log σ(s⁺ − s⁻), so that it
 * does not depend on the batch size (the reference sums over items).
 */
import { DataError, type Loss, type SequenceSample } from '@realhf/api';

import { withProblem } from './problem.js';

/** Pairs per item; DataError when an item has an odd number of sequences or none. */
export function pairsOf(sample: SequenceSample): number[] {
  return sample.seqlens.packed_input_ids!.map((lens, i) => {
    if (lens.length === 0 || lens.length % 2 !== 0) {
      throw new DataError(
        `id '${sample.ids[i]!}' has ${lens.length} sequences; a preference item has pairs: chosen, rejected, chosen, …`,
      );
    }
    return lens.length / 2;
  });
}

/** log(1 + eˣ) without overflow. */
export function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** −log σ(score of the better − score of the worse), scores at the last tokens. */
export const pairedRewardLoss: Loss = withProblem({
  name: 'paired_rw',
  weight: (sample) => sample.bs,
  compute({ sample, cuSeqlens, values = new Float32Array(), totalWeight }) {
    const dValues = new Float32Array(values.length);
    let loss = 0;
    let correct = 0;
    let pairs = 0;
    const sums = { pos: 0, neg: 0 };
    let s = 0;
    for (const g of pairsOf(sample)) {
      for (let p = 0; p < g; p++, s += 2) {
        const pos = cuSeqlens[s + 1]! - 1;
        const neg = cuSeqlens[s + 2]! - 1;
        const margin = values[pos]! - values[neg]!;
        const weight = 1 / (g * totalWeight);
        loss += softplus(-margin) * weight;
        const slope = -weight / (1 + Math.exp(margin));
        dValues[pos] = slope;
        dValues[neg] = -slope;
        correct += margin > 0 ? 1 : 0;
        sums.pos += values[pos]!;
        sums.neg += values[neg]!;
        pairs++;
      }
    }
    const mean = (sum: number) => ({ sum, count: pairs });
    return {
      loss,
      dValues,
      stats: { acc: mean(correct), pos_score: mean(sums.pos), neg_score: mean(sums.neg) },
    };
  },
});
