/**
 * `real rw` (reference: A2). The model starts from a language model with a fresh scalar head, so
 * `model.init_critic_from_actor` is true here unless training goes on with a reward model.
 */
import { z } from 'zod';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, rwPairOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, modelSchema } from './model.js';

const rwObject = z.object({
  ...commonShape,
  model: modelSchema
    .extend({
      init_critic_from_actor: modelSchema.shape.init_critic_from_actor
        .unwrap()
        .default(true)
        .describe('path holds a language model: drop its head, start with a fresh scalar head'),
    })
    .prefault({})
    .describe('the reward model in training'),
  dataset: rwPairOptions.describe('prompts with better and worse answers'),
  allocation: mfcSchema.prefault({}).describe('how the training call is cut'),
});

/** Options of `real rw`. */
export type RwConfig = z.infer<typeof rwObject>;

/** Schema of the options of `real rw`. */
export const rwSchema = rwObject.superRefine(
  checks<RwConfig>(checkCommon, checkEvaluation, (config, report) => {
    checkMfc(config.allocation, 'allocation', config.dataset.train_bs_n_seqs, report);
    checkModel(config.model, 'model', true, report);
  }),
);
