/**
 * PPO's clipped losses (Schulman et al., arXiv 1707.06347) on prepared minibatches: keys `advantages`, `old_logp`,
 * `ppo_loss_mask` (all [Σ(L−1)]) for the actor, `returns`, `old_values` for the critic. Means are over masked-in
 * tokens of the whole minibatch.
 */
import type { Loss, Stats } from '@realhf/api';

import { count } from './masks.js';

export interface EarlyStopOptions {
  /** Skip the step when the mean ratio exceeds it; null: never. */
  readonly earlyStopImpRatio: number | null;
  /** Skip the step when |mean (new − old)| exceeds it; null: never. */
  readonly earlyStopKl: number | null;
}

/** A reason not to take the step, from a loss's mean stats. */
export function earlyStop(o: EarlyStopOptions, stats: Stats): string | undefined {
  if (o.earlyStopImpRatio !== null && stats.importance_weight! > o.earlyStopImpRatio)
    return `importance ratio ${stats.importance_weight!} > ${o.earlyStopImpRatio}`;
  if (o.earlyStopKl !== null && Math.abs(stats.ppo_approx_kl!) > o.earlyStopKl)
    return `approximate KL ${stats.ppo_approx_kl!} > ${o.earlyStopKl}`;
  return undefined;
}

export interface PpoActorLossOptions extends EarlyStopOptions {
  readonly epsClip: number;
  /** The one that generation used: the ratio compares like with like. */
  readonly temperature: number;
  readonly logitsMask: boolean;
  /** Added as −coefficient · entropy. */
  readonly entropyCoeff?: number;
}

export function ppoActorLoss(o: PpoActorLossOptions): Loss {
  return {
    name: 'ppo_actor',
    temperature: o.temperature,
    needsEntropy: true,
    ...(o.logitsMask ? { maskKey: 'packed_logits_mask' } : {}),
    needed: (sample) => sample.u8('ppo_loss_mask'),
    weight: (sample) => count(sample.u8('ppo_loss_mask')),
    compute({ sample, logProbs = new Float32Array(), entropy = new Float32Array(), totalWeight }) {
      const mask = sample.u8('ppo_loss_mask');
      const old = sample.f32('old_logp');
      const adv = sample.f32('advantages');
      const dLogProbs = new Float32Array(logProbs.length);
      const dEntropy = o.entropyCoeff ? new Float32Array(logProbs.length) : undefined;
      const sum = { loss: 0, clipped: 0, kl: 0, ratio: 0, entropy: 0, n: 0 };
      for (let j = 0; j < logProbs.length; j++) {
        if (!mask[j]) continue;
        const diff = logProbs[j]! - old[j]!;
        const ratio = Math.exp(diff);
        const plain = -adv[j]! * ratio;
        const clipped = -adv[j]! * Math.min(Math.max(ratio, 1 - o.epsClip), 1 + o.epsClip);
        sum.loss += Math.max(plain, clipped);
        if (plain < clipped) sum.clipped++;
        else dLogProbs[j] = plain / totalWeight;
        sum.kl += diff;
        sum.ratio += ratio;
        sum.entropy += entropy[j]!;
        if (dEntropy) dEntropy[j] = -o.entropyCoeff! / totalWeight;
        sum.n++;
      }
      const mean = (x: number) => ({ sum: x, count: sum.n });
      return {
        loss: (sum.loss - (o.entropyCoeff ?? 0) * sum.entropy) / totalWeight,
        dLogProbs,
        ...(dEntropy ? { dEntropy } : {}),
        stats: {
          actor_loss: mean(sum.loss),
          actor_clip_ratio: mean(sum.clipped),
          ppo_approx_kl: mean(sum.kl),
          importance_weight: mean(sum.ratio),
          entropy: mean(sum.entropy),
        },
      };
    },
    skipStep: (stats: Stats) => earlyStop(o, stats),
  };
}

export interface PpoCriticLossOptions {
  readonly valueEpsClip: number;
  /** Huber with δ = 10 instead of half the square. */
  readonly huber?: boolean;
}

/** ½d² or Huber, and its slope. */
function penalty(d: number, huber: boolean): [number, number] {
  const delta = 10;
  if (huber && Math.abs(d) > delta)
    return [delta * (Math.abs(d) - delta / 2), delta * Math.sign(d)];
  return [(d * d) / 2, d];
}

export function ppoCriticLoss(o: PpoCriticLossOptions): Loss {
  return {
    name: 'ppo_critic',
    weight: (sample) => count(sample.u8('ppo_loss_mask')),
    compute({ sample, cuSeqlens, values = new Float32Array(), totalWeight }) {
      const mask = sample.u8('ppo_loss_mask');
      const target = sample.f32('returns');
      const old = sample.f32('old_values');
      const dValues = new Float32Array(values.length);
      const sum = { loss: 0, clipped: 0, n: 0 };
      for (let s = 0, j = 0; s + 1 < cuSeqlens.length; s++) {
        for (let t = cuSeqlens[s]!; t < cuSeqlens[s + 1]! - 1; t++, j++) {
          if (!mask[j]) continue;
          const v = values[t]!;
          const moved = v - old[j]!;
          const near = old[j]! + Math.sign(moved) * o.valueEpsClip;
          const [plain, slope] = penalty(v - target[j]!, o.huber ?? false);
          // Within the clip both branches are the same; old + (v − old) may differ from v by a rounding.
          const clipped =
            Math.abs(moved) > o.valueEpsClip
              ? penalty(near - target[j]!, o.huber ?? false)[0]
              : plain;
          // The clipped branch is flat in v.
          if (clipped > plain) sum.clipped++;
          else dValues[t] = slope / totalWeight;
          sum.loss += Math.max(plain, clipped);
          sum.n++;
        }
      }
      const mean = (x: number) => ({ sum: x, count: sum.n });
      return {
        loss: sum.loss / totalWeight,
        dValues,
        stats: { value_loss: mean(sum.loss), value_clip_ratio: mean(sum.clipped) },
      };
    },
  };
}
