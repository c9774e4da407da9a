/**
 * PPO's clipped losses (Schulman et al., arXiv 1707.06347) on prepared minibatches: keys `advantages`, `old_logp`,
 * `ppo_loss_mask` (all [Σ(L−1)]) for the actor, `returns`, `old_values` for the critic. Means are over masked-in
 * tokens of the whole minibatch.
 */
import type { Loss } from '@realhf/api';

import { count } from './masks.js';
import { policyLoss, type PolicyLossOptions } from './policy.js';
import { withProblem } from './problem.js';

/** Options of ppoActorLoss. */
export type PpoActorLossOptions = Omit<PolicyLossOptions, 'name' | 'averaging' | 'klCtl'> &
  Partial<Pick<PolicyLossOptions, 'averaging' | 'klCtl'>>;

/** Averaged over tokens, without a KL in the loss, unless asked otherwise. */
export function ppoActorLoss(o: PpoActorLossOptions): Loss {
  return policyLoss({ averaging: 'token', klCtl: 0, ...o, name: 'ppo_actor' });
}

/** Options of ppoCriticLoss. */
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

/** PPO's clipped value loss. */
export function ppoCriticLoss(o: PpoCriticLossOptions): Loss {
  const loss: Loss = {
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
  return withProblem(loss, ['returns', 'old_values']);
}
