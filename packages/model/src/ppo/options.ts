/** PPO's options (reference: P1–P17), with the command line's defaults everywhere. Keys keep the field's spelling. */
import { generationSchema } from '@realhf/api';
import { z } from 'zod';

import { policyLossShape } from './policy-options.js';

/** Schema of the options of PPO. */
export const ppoOptionsSchema = z.object({
  gen: generationSchema.prefault({}).describe('generation'),
  ppo_n_minibatches: z
    .number()
    .int()
    .positive()
    .default(4)
    .describe('optimizer steps per batch, on token-balanced parts of it'),
  kl_ctl: z
    .number()
    .nonnegative()
    .default(0.1)
    .describe('coefficient of the KL penalty against the reference'),
  use_adaptive_kl_ctl: z
    .boolean()
    .default(false)
    .describe('steer kl_ctl towards adaptive_kl_target'),
  adaptive_kl_target: z.number().positive().default(6).describe('nats per sequence'),
  adaptive_kl_horizon: z
    .number()
    .positive()
    .default(10000)
    .describe('sequences over which kl_ctl adapts'),
  discount: z.number().min(0).max(1).default(1).describe('γ of the advantage estimation'),
  gae_lambda: z.number().min(0).max(1).default(1).describe('λ of the advantage estimation'),
  value_eps_clip: z.number().positive().default(0.2).describe('clip range of a value step'),
  max_reward_clip: z.number().positive().default(20).describe('scores are clipped to ± this'),
  reward_output_scaling: z.number().default(1).describe('score = (output − bias) · scaling'),
  reward_output_bias: z.number().default(0).describe('score = (output − bias) · scaling'),
  adv_norm: z.boolean().default(true).describe('normalise advantages over the batch'),
  value_norm: z
    .boolean()
    .default(true)
    .describe('normalise returns by their running mean and deviation'),
  value_norm_type: z
    .enum(['exp', 'ma'])
    .default('exp')
    .describe('exponential or plain running average'),
  value_norm_beta: z.number().min(0).lt(1).default(0.99995).describe('weight of the past (exp)'),
  value_norm_eps: z.number().positive().default(1e-5).describe('smallest debiasing term'),
  value_loss_type: z
    .enum(['mse', 'huber'])
    .default('mse')
    .describe('critic loss: half the square, or Huber with δ = 10'),
  ...policyLossShape,
});

/** Options of PPO, defaults filled in. */
export type PpoOptions = z.infer<typeof ppoOptionsSchema>;
