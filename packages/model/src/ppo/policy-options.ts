/** Options of the policy's loss that PPO, GRPO and RLOO share; the defaults are PPO's as the reference has it. */
import { z } from 'zod';

import { klEstimators } from '../losses/kl.js';
import { lossAveragings, type PolicyLossOptions } from '../losses/policy.js';

export const policyLossShape = {
  eps_clip: z.number().positive().default(0.2).describe('clip range of the probability ratio'),
  eps_clip_higher: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe('upper clip range, for rare tokens to grow (DAPO: 0.28); null: eps_clip'),
  c_clip: z
    .number()
    .gt(1)
    .nullable()
    .default(null)
    .describe('dual clip: a bad token weighs at most this times its advantage; null: no bound'),
  importance_sampling_level: z
    .enum(['token', 'sequence'])
    .default('token')
    .describe('whose ratio is clipped: a token, or an answer by its mean log ratio (GSPO)'),
  loss_averaging: z
    .enum(lossAveragings)
    .default('token')
    .describe(
      'token: all tokens of a minibatch alike; sequence: all answers alike; sum: answers by the sum of their tokens; constant: as sum, by max_new_tokens (Dr. GRPO)',
    ),
  kl_estimator: z
    .enum(klEstimators)
    .default('k1')
    .describe('estimate of the KL to the reference: k1 = d, k2 = d²/2, k3 = e^−d − 1 + d'),
  use_kl_in_reward: z
    .boolean()
    .default(true)
    .describe('the KL is a penalty in the reward; false: a term of the loss'),
  mask_truncated_completions: z
    .boolean()
    .default(false)
    .describe('answers cut by max_new_tokens teach the policy nothing'),
  entropy_coeff: z.number().nonnegative().default(0).describe('entropy bonus in the actor loss'),
  early_stop_imp_ratio: z
    .number()
    .positive()
    .nullable()
    .default(5)
    .describe('skip a minibatch whose mean ratio exceeds it; null: never'),
  early_stop_kl: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe('skip a minibatch whose |mean log ratio| exceeds it; null: never'),
} as const;
type PolicyOptions = z.infer<z.ZodObject<typeof policyLossShape>>;

/** The loss's options of the same meaning; `klInLoss` is its coefficient there, 0 where the KL is in the reward. */
export function policyLossOptions(
  o: PolicyOptions & { readonly gen: { readonly max_new_tokens: number } },
  { klInLoss }: { readonly klInLoss: number },
): Omit<PolicyLossOptions, 'name' | 'temperature' | 'logitsMask'> {
  return {
    epsClip: o.eps_clip,
    epsClipHigher: o.eps_clip_higher,
    cClip: o.c_clip,
    ratioLevel: o.importance_sampling_level,
    averaging: o.loss_averaging,
    lossNorm: o.gen.max_new_tokens,
    klCtl: klInLoss,
    klEstimator: o.kl_estimator,
    entropyCoeff: o.entropy_coeff,
    earlyStopImpRatio: o.early_stop_imp_ratio,
    earlyStopKl: o.early_stop_kl,
    skipEmpty: o.mask_truncated_completions,
  };
}
