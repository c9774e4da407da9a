/** RAFT's options. */
import { z } from 'zod';

import { grpoOptionsSchema } from '../grpo/options.js';

const of = grpoOptionsSchema.shape;

/** Schema of the options of RAFT. */
export const raftOptionsSchema = z.object({
  gen: of.gen,
  group_size: of.group_size
    .unwrap()
    .default(4)
    .describe('answers per prompt, of which one is kept'),
  ppo_n_minibatches: of.ppo_n_minibatches
    .unwrap()
    .default(1)
    .describe(of.ppo_n_minibatches.description ?? ''),
  reward_output_scaling: of.reward_output_scaling,
  reward_output_bias: of.reward_output_bias,
});
