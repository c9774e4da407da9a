/**
 * GRPO (Shao et al., arXiv 2402.03300) on prepared minibatches: PPO's clipped ratio with advantages of the group, and
 * the k3 estimate of the KL to the reference (Schulman 2020) in the loss itself: e^d − d − 1 with d = log π_ref − log π.
 * Keys `advantages`, `old_logp`, `ref_logp`, `ppo_loss_mask`, all [Σ(L−1)].
 */
import type { Loss, SequenceSample, Stats } from '@realhf/api';

import { count } from './masks.js';
import { earlyStop, type EarlyStopOptions } from './ppo.js';

/** What is averaged: all tokens alike, or sequences alike, each the mean of its tokens (as in the paper). */
export type LossAveraging = 'token' | 'sequence';

export interface GrpoLossOptions extends EarlyStopOptions {
  readonly epsClip: number;
  /** Coefficient of the KL term. */
  readonly klCtl: number;
  readonly averaging: LossAveraging;
  /** The one that generation used: the ratio compares like with like. */
  readonly temperature: number;
  readonly logitsMask: boolean;
}

/** Masked-in tokens of each sequence. */
function answerLengths(sample: SequenceSample): number[] {
  const mask = sample.u8('ppo_loss_mask');
  let at = 0;
  return sample.lengths('ppo_loss_mask').map((n) => count(mask.subarray(at, (at += n))));
}

export function grpoLoss(o: GrpoLossOptions): Loss {
  return {
    name: 'grpo',
    temperature: o.temperature,
    needsEntropy: true,
    ...(o.logitsMask ? { maskKey: 'packed_logits_mask' } : {}),
    needed: (sample) => sample.u8('ppo_loss_mask'),
    weight: (sample) =>
      o.averaging === 'token'
        ? count(sample.u8('ppo_loss_mask'))
        : answerLengths(sample).filter((n) => n > 0).length,
    compute({ sample, logProbs = new Float32Array(), entropy = new Float32Array(), totalWeight }) {
      const mask = sample.u8('ppo_loss_mask');
      const old = sample.f32('old_logp');
      const ref = sample.f32('ref_logp');
      const adv = sample.f32('advantages');
      const lengths = sample.lengths('ppo_loss_mask');
      const answers = answerLengths(sample);
      const dLogProbs = new Float32Array(logProbs.length);
      const sum = { policy: 0, clipped: 0, approxKl: 0, ratio: 0, kl: 0, entropy: 0, n: 0 };
      let loss = 0;
      let j = 0;
      for (let s = 0; s < lengths.length; s++) {
        const weight = (o.averaging === 'token' ? 1 : 1 / answers[s]!) / totalWeight;
        for (const end = j + lengths[s]!; j < end; j++) {
          if (!mask[j]) continue;
          const diff = logProbs[j]! - old[j]!;
          const ratio = Math.exp(diff);
          const plain = -adv[j]! * ratio;
          const clipped = -adv[j]! * Math.min(Math.max(ratio, 1 - o.epsClip), 1 + o.epsClip);
          const policy = Math.max(plain, clipped);
          const d = ref[j]! - logProbs[j]!;
          // expm1 keeps what e^d − 1 loses while the policy is near the reference.
          const slope = Math.expm1(d);
          const kl = slope - d;
          loss += weight * (policy + o.klCtl * kl);
          dLogProbs[j] = weight * ((plain < clipped ? 0 : plain) - o.klCtl * slope);
          sum.policy += policy;
          sum.clipped += plain < clipped ? 1 : 0;
          sum.approxKl += diff;
          sum.ratio += ratio;
          sum.kl += kl;
          sum.entropy += entropy[j]!;
          sum.n++;
        }
      }
      const mean = (x: number) => ({ sum: x, count: sum.n });
      return {
        loss,
        dLogProbs,
        stats: {
          actor_loss: mean(sum.policy),
          actor_clip_ratio: mean(sum.clipped),
          ppo_approx_kl: mean(sum.approxKl),
          importance_weight: mean(sum.ratio),
          kl_loss: mean(sum.kl),
          entropy: mean(sum.entropy),
        },
      };
    },
    skipStep: (stats: Stats) => earlyStop(o, stats),
  };
}
