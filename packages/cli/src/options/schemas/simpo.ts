/** `real simpo`: as `real dpo`, without a reference. */
import { simpoOptionsSchema } from '@realhf/model';
import { z } from 'zod';

import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, rwPairOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, modelSchema } from './model.js';

const simpoObject = z.object({
  ...commonShape,
  ...simpoOptionsSchema.shape,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  dataset: rwPairOptions.describe('prompts with better and worse answers'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
});

/** Options of `real simpo`. */
export type SimpoConfig = z.infer<typeof simpoObject>;

/** Schema of the options of `real simpo`. */
export const simpoSchema = simpoObject.superRefine(
  checks<SimpoConfig>(checkCommon, checkEvaluation, (config, report) => {
    checkMfc(config.actor_train, 'actor_train', config.dataset.train_bs_n_seqs, report);
    checkModel(config.actor, 'actor', false, report);
  }),
);
