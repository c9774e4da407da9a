/** OptimizerConfig (reference: O2–O6): AdamW with a warm-up and a decay measured in steps. */
import { z } from 'zod';

/** Schema of the options of the optimizer and its learning rate. */
export const optimizerSchema = z.object({
  type: z
    .enum(['adam', 'empty'])
    .default('adam')
    .describe('adam (AdamW), or empty: nothing is updated'),
  lr: z.number().nonnegative().default(1e-5).describe('peak learning rate'),
  weight_decay: z
    .number()
    .nonnegative()
    .default(0.05)
    .describe('decoupled; never on biases and norms'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('decay of the first moment'),
  beta2: z.number().min(0).lt(1).default(0.95).describe('decay of the second moment'),
  eps: z.number().positive().default(1e-5).describe('added to the root of the second moment'),
  min_lr_ratio: z.number().min(0).max(1).default(0).describe('the schedule ends at lr times this'),
  lr_scheduler_type: z
    .enum(['cosine', 'linear', 'constant'])
    .default('cosine')
    .describe('decay after the warm-up'),
  warmup_steps_proportion: z
    .number()
    .min(0)
    .max(1)
    .default(0.02)
    .describe('part of all steps spent on a linear warm-up'),
  gradient_clipping: z.number().positive().default(1).describe('largest global gradient norm'),
});

/** Options of the optimizer, defaults filled in. */
export type OptimizerConfig = z.infer<typeof optimizerSchema>;
