/** `real sft` (reference: A1). */
import { z } from 'zod';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, promptAnswerOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, modelSchema } from './model.js';

const sftObject = z.object({
  ...commonShape,
  model: modelSchema.prefault({}).describe('the model in training'),
  dataset: promptAnswerOptions.describe('prompts and answers'),
  allocation: mfcSchema.prefault({}).describe('how the training call is cut'),
});

/** Options of `real sft`. */
export type SftConfig = z.infer<typeof sftObject>;

/** Schema of the options of `real sft`. */
export const sftSchema = sftObject.superRefine(
  checks<SftConfig>(checkCommon, checkEvaluation, (config, report) => {
    checkMfc(config.allocation, 'allocation', config.dataset.train_bs_n_seqs, report);
    checkModel(config.model, 'model', false, report);
  }),
);
