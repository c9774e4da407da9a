/**
 * The loss of a policy on prepared minibatches, shared by PPO, GRPO, RLOO and ReMax: a surrogate of the advantage, a KL
 * to the reference, an entropy bonus, and how tokens are averaged. Keys `advantages`, `old_logp`, `ppo_loss_mask`, and
 * `ref_logp` where there is a KL, all [Σ(L−1)]. Clip: Schulman et al., arXiv 1707.06347; higher upper clip: DAPO, arXiv
 * 2503.14476; dual clip: Ye et al., arXiv 1912.09729; ratio of a sequence: GSPO, arXiv 2507.18071.
 */
import type { Loss, SequenceSample, Stats } from '@realhf/api';

import { klTerm, type KlEstimator } from './kl.js';
import { count } from './masks.js';
import { withProblem } from './problem.js';

export interface EarlyStopOptions {
  /** Skip the step when the mean ratio exceeds it; null: never. */
  readonly earlyStopImpRatio: number | null;
  /** Skip the step when |mean (new − old)| exceeds it; null: never. */
  readonly earlyStopKl: number | null;
}

/**
 * token: all tokens alike; sequence: sequences alike, each the mean of its tokens; sum: sequences alike, each the sum of
 * its tokens; constant: as sum, divided by a constant (Dr. GRPO, arXiv 2503.20783), so that length has no part in it.
 */
export const lossAveragings = ['token', 'sequence', 'sum', 'constant'] as const;

/** How tokens are averaged: over all, within sequences first, by a constant, or not at all. */
export type LossAveraging = (typeof lossAveragings)[number];

/** Whose ratio new/old is clipped: a token's, a sequence's (geometric mean over its tokens), or the whole answer's (product). */
export const ratioLevels = ['token', 'sequence', 'product'] as const;

/** Whose ratio is clipped: a token's or a sequence's. */
export type RatioLevel = (typeof ratioLevels)[number];

/** Options of policyLoss, of which PPO, GRPO, DAPO, Dr. GRPO and GSPO are choices. */
export interface PolicyLossOptions extends EarlyStopOptions {
  readonly name: string;
  /** clip: the clipped ratio; reinforce: −A·log π. Default clip. */
  readonly objective?: 'clip' | 'reinforce';
  readonly epsClip: number;
  /** The ratio's upper clip is 1 + this. Default epsClip. */
  readonly epsClipHigher?: number | null;
  /** Above 1: where A < 0 the loss is at most this · |A|. Default null: no bound. */
  readonly cClip?: number | null;
  /** Default token. */
  readonly ratioLevel?: RatioLevel;
  readonly averaging: LossAveraging;
  /** Tokens that `constant` divides by. */
  readonly lossNorm?: number;
  /** Coefficient of the KL term; 0: `ref_logp` is not read. */
  readonly klCtl: number;
  /** Default k3. */
  readonly klEstimator?: KlEstimator;
  /** Added as −coefficient · entropy. */
  readonly entropyCoeff?: number;
  /** The one that generation used: the ratio compares like with like. */
  readonly temperature: number;
  readonly logitsMask: boolean;
  /** A minibatch without a masked-in token is skipped; else it is an error. */
  readonly skipEmpty?: boolean;
}

/** A reason not to take the step, from a loss's mean stats. */
function earlyStop(o: EarlyStopOptions, stats: Stats): string | undefined {
  if (o.earlyStopImpRatio !== null && stats.importance_weight! > o.earlyStopImpRatio)
    return `importance ratio ${stats.importance_weight!} > ${o.earlyStopImpRatio}`;
  if (o.earlyStopKl !== null && Math.abs(stats.ppo_approx_kl!) > o.earlyStopKl)
    return `approximate KL ${stats.ppo_approx_kl!} > ${o.earlyStopKl}`;
  return undefined;
}

interface Surrogate {
  readonly loss: number;
  /** In the log of the ratio. */
  readonly slope: number;
  readonly clipped: boolean;
  readonly bounded: boolean;
}
function surrogate(logRatio: number, adv: number, o: PolicyLossOptions): Surrogate {
  const ratio = Math.exp(logRatio);
  const high = 1 + (o.epsClipHigher ?? o.epsClip);
  const plain = -adv * ratio;
  const cut = -adv * Math.min(Math.max(ratio, 1 - o.epsClip), high);
  const clipped = plain < cut;
  const loss = Math.max(plain, cut);
  const bound = adv < 0 && o.cClip ? -adv * o.cClip : Infinity;
  const bounded = loss > bound;
  return { loss: Math.min(loss, bound), slope: clipped || bounded ? 0 : plain, clipped, bounded };
}

/** Masked-in tokens of each sequence. */
function answerLengths(sample: SequenceSample): number[] {
  const mask = sample.u8('ppo_loss_mask');
  let at = 0;
  return sample.lengths('ppo_loss_mask').map((n) => count(mask.subarray(at, (at += n))));
}

function weightOf(sample: SequenceSample, o: PolicyLossOptions): number {
  const weight =
    o.averaging === 'token'
      ? count(sample.u8('ppo_loss_mask'))
      : answerLengths(sample).filter((n) => n > 0).length;
  // Vanishes beside any token, and divides nothing where there is none.
  return weight === 0 && o.skipEmpty ? Number.MIN_VALUE : weight;
}

/** Throws nothing: what is not finite is told by `problem`. */
export function policyLoss(o: PolicyLossOptions): Loss {
  const level = o.ratioLevel ?? 'token';
  const share = (tokens: number) =>
    ({ token: 1, sequence: 1 / tokens, sum: 1, constant: 1 / (o.lossNorm ?? 1) })[o.averaging];
  const loss: Loss = {
    name: o.name,
    temperature: o.temperature,
    needsEntropy: true,
    ...(o.logitsMask ? { maskKey: 'packed_logits_mask' } : {}),
    needed: (sample) => sample.u8('ppo_loss_mask'),
    weight: (sample) => weightOf(sample, o),
    compute({ sample, logProbs = new Float32Array(), entropy = new Float32Array(), totalWeight }) {
      const mask = sample.u8('ppo_loss_mask');
      const old = sample.f32('old_logp');
      const ref = o.klCtl === 0 ? undefined : sample.f32('ref_logp');
      const adv = sample.f32('advantages');
      const lengths = sample.lengths('ppo_loss_mask');
      const answers = answerLengths(sample);
      const dLogProbs = new Float32Array(logProbs.length);
      const dEntropy = o.entropyCoeff ? new Float32Array(logProbs.length) : undefined;
      const sum = {
        policy: 0,
        clipped: 0,
        bounded: 0,
        approxKl: 0,
        ratio: 0,
        kl: 0,
        entropy: 0,
        n: 0,
      };
      let loss = 0;
      for (let s = 0, begin = 0; s < lengths.length; begin += lengths[s++]!) {
        const tokens = answers[s]!;
        if (tokens === 0) continue;
        const end = begin + lengths[s]!;
        const weight = share(tokens) / totalWeight;
        let together = 0;
        if (level !== 'token')
          for (let j = begin; j < end; j++) if (mask[j]) together += logProbs[j]! - old[j]!;
        // What a token's log-prob does to the log of the sequence's ratio.
        const part = level === 'sequence' ? 1 / tokens : 1;
        let pull = 0;
        for (let j = begin; j < end; j++) {
          if (!mask[j]) continue;
          const p = logProbs[j]!;
          const diff = p - old[j]!;
          const logRatio = level === 'token' ? diff : together * part;
          let gradient = 0;
          if (o.objective === 'reinforce') {
            sum.policy -= adv[j]! * p;
            loss -= weight * adv[j]! * p;
            gradient = -adv[j]!;
          } else {
            const term = surrogate(logRatio, adv[j]!, o);
            sum.policy += term.loss;
            loss += weight * term.loss;
            if (level === 'token') gradient = term.slope;
            else pull += weight * term.slope;
            sum.clipped += +term.clipped;
            sum.bounded += +term.bounded;
          }
          if (ref) {
            const [kl, slope] = klTerm(p, ref[j]!, o.klEstimator ?? 'k3');
            sum.kl += kl;
            loss += weight * o.klCtl * kl;
            gradient += o.klCtl * slope;
          }
          if (dEntropy) {
            loss -= weight * o.entropyCoeff! * entropy[j]!;
            dEntropy[j] = -o.entropyCoeff! * weight;
          }
          dLogProbs[j] = weight * gradient;
          sum.approxKl += diff;
          sum.ratio += Math.exp(logRatio);
          sum.entropy += entropy[j]!;
          sum.n++;
        }
        if (pull !== 0) for (let j = begin; j < end; j++) if (mask[j]) dLogProbs[j]! += part * pull;
      }
      const mean = (x: number) => ({ sum: x, count: sum.n });
      return {
        loss,
        dLogProbs,
        ...(dEntropy ? { dEntropy } : {}),
        stats: {
          actor_loss: mean(sum.policy),
          actor_clip_ratio: mean(sum.clipped),
          ...(o.cClip ? { dual_clip_ratio: mean(sum.bounded) } : {}),
          ppo_approx_kl: mean(sum.approxKl),
          importance_weight: mean(sum.ratio),
          ...(ref ? { kl_loss: mean(sum.kl) } : {}),
          entropy: mean(sum.entropy),
          ...(o.skipEmpty ? { unmasked_tokens: { sum: sum.n, count: 1 } } : {}),
        },
      };
    },
    skipStep: (stats: Stats) =>
      o.skipEmpty && stats.unmasked_tokens === 0
        ? 'every answer of the minibatch was cut'
        : earlyStop(o, stats),
  };
  return withProblem(loss, ['advantages', 'old_logp', ...(o.klCtl === 0 ? [] : ['ref_logp'])]);
}
