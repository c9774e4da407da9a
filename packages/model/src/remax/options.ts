/** ReMax's options (reference: A9), with its defaults. */
import { z } from 'zod';

import { ppoOptionsSchema } from '../ppo/options.js';

const of = ppoOptionsSchema.shape;

/** Schema of the options of ReMax. */
export const remaxOptionsSchema = z.object({
  gen: of.gen,
  discount: of.discount
    .unwrap()
    .default(0.99)
    .describe('a token k tokens before the last has advantage discount^k · reward'),
  adv_norm: of.adv_norm,
  mask_truncated_completions: of.mask_truncated_completions,
  entropy_coeff: of.entropy_coeff,
  reward_output_scaling: of.reward_output_scaling,
  reward_output_bias: of.reward_output_bias,
});
