/** RLOO's options: those of GRPO that mean something for a whole answer as one action. */
import { z } from 'zod';

import { grpoOptionsSchema, grpoPpoOptionsSchema } from '../grpo/options.js';

const of = grpoPpoOptionsSchema.shape;

/** On the command line as `ppo.*`. */
export const rlooPpoOptionsSchema = grpoPpoOptionsSchema
  .pick({
    gen: true,
    eps_clip: true,
    eps_clip_higher: true,
    entropy_coeff: true,
    mask_truncated_completions: true,
    adv_norm: true,
    reward_output_scaling: true,
    reward_output_bias: true,
    early_stop_imp_ratio: true,
    early_stop_kl: true,
  })
  .extend({
    policy_loss: z
      .enum(['reinforce', 'clip'])
      .default('reinforce')
      .describe('reinforce: −A · log π(answer); clip: the clipped ratio of whole answers'),
    ppo_n_minibatches: of.ppo_n_minibatches
      .unwrap()
      .default(1)
      .describe(of.ppo_n_minibatches.description ?? ''),
    kl_ctl: of.kl_ctl
      .unwrap()
      .default(0.05)
      .describe("coefficient of an answer's KL, which is taken off its score; 0: no reference"),
    kl_estimator: of.kl_estimator
      .unwrap()
      .default('k1')
      .describe(of.kl_estimator.description ?? ''),
    max_reward_clip: of.max_reward_clip
      .unwrap()
      .default(20)
      .describe('scores are clipped to ± this before the KL is taken off'),
  });

/** Schema of the options of RLOO. */
export const rlooOptionsSchema = rlooPpoOptionsSchema.extend({
  group_size: grpoOptionsSchema.shape.group_size,
});
