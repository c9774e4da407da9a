/** GRPO's options (reference: A8): those of PPO that mean something without a critic, and the group. */
import { z } from 'zod';

import { ppoOptionsSchema } from '../ppo/options.js';

/** On the command line as `ppo.*`, like the reference's. */
export const grpoPpoOptionsSchema = ppoOptionsSchema
  .pick({
    gen: true,
    ppo_n_minibatches: true,
    eps_clip: true,
    reward_output_scaling: true,
    reward_output_bias: true,
    early_stop_imp_ratio: true,
    early_stop_kl: true,
  })
  .extend({
    kl_ctl: ppoOptionsSchema.shape.kl_ctl
      .unwrap()
      .default(0.1)
      .describe('coefficient of the KL to the reference in the loss'),
    discount: ppoOptionsSchema.shape.discount
      .unwrap()
      .default(1)
      .describe('a token k tokens before the last has advantage discount^k · score'),
    max_reward_clip: ppoOptionsSchema.shape.max_reward_clip
      .unwrap()
      .default(20)
      .describe('normalised scores are clipped to ± this'),
  });

export const grpoOptionsSchema = grpoPpoOptionsSchema.extend({
  group_size: z.number().int().min(2).default(4).describe('answers per prompt'),
  loss_averaging: z
    .enum(['token', 'sequence'])
    .default('token')
    .describe('token: all tokens of a minibatch alike; sequence: all answers alike'),
});
export type GrpoOptions = z.infer<typeof grpoOptionsSchema>;
