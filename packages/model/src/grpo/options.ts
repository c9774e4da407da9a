/** GRPO's options (reference: A8): those of PPO that mean something without a critic, and the group. */
import { z } from 'zod';

import { ppoOptionsSchema } from '../ppo/options.js';

const describe = (name: keyof typeof ppoOptionsSchema.shape) =>
  ppoOptionsSchema.shape[name].description ?? '';

/** On the command line as `ppo.*`, like the reference's. */
export const grpoPpoOptionsSchema = ppoOptionsSchema
  .pick({
    gen: true,
    ppo_n_minibatches: true,
    eps_clip: true,
    eps_clip_higher: true,
    c_clip: true,
    importance_sampling_level: true,
    mask_truncated_completions: true,
    entropy_coeff: true,
    reward_output_scaling: true,
    reward_output_bias: true,
    early_stop_imp_ratio: true,
    early_stop_kl: true,
  })
  .extend({
    kl_ctl: ppoOptionsSchema.shape.kl_ctl
      .unwrap()
      .default(0.1)
      .describe('coefficient of the KL to the reference; 0: no reference model'),
    kl_estimator: ppoOptionsSchema.shape.kl_estimator
      .unwrap()
      .default('k3')
      .describe(describe('kl_estimator')),
    use_kl_in_reward: ppoOptionsSchema.shape.use_kl_in_reward
      .unwrap()
      .default(false)
      .describe("true: an answer's KL is taken off its score; false: the KL is a term of the loss"),
    scale_rewards: z
      .enum(['group', 'batch', 'none'])
      .default('group')
      .describe('deviation that scores are divided by; none: not (Dr. GRPO)'),
    adv_norm: ppoOptionsSchema.shape.adv_norm
      .unwrap()
      .default(false)
      .describe('whiten advantages over the tokens of the batch'),
    discount: ppoOptionsSchema.shape.discount
      .unwrap()
      .default(1)
      .describe('a token k tokens before the last has advantage discount^k · score'),
    max_reward_clip: ppoOptionsSchema.shape.max_reward_clip
      .unwrap()
      .default(20)
      .describe('normalised scores are clipped to ± this'),
  });

/** Schema of the options of GRPO. */
export const grpoOptionsSchema = grpoPpoOptionsSchema.extend({
  group_size: z.number().int().min(2).default(4).describe('answers per prompt'),
  loss_averaging: ppoOptionsSchema.shape.loss_averaging,
});

/** Options of GRPO, defaults filled in. */
export type GrpoOptions = z.infer<typeof grpoOptionsSchema>;
