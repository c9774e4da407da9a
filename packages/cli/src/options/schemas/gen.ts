/** `real gen` (reference: A6). It trains nothing, so it has no exp_ctrl and no checkpoints: the output file is its progress. */
import { generationSchema } from '@realhf/api';
import { z } from 'zod';
import { checkCommon, checks, commonShape } from './common.js';
import { promptOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema } from './model.js';

const genObject = z.object({
  ...z.object(commonShape).omit({ exp_ctrl: true }).shape,
  recover_mode: commonShape.recover_mode
    .unwrap()
    .default('disabled')
    .describe('auto: go on after the last written answer if there is one; resume: there must be'),
  output_file: z
    .string()
    .regex(
      /^(?!metrics\.jsonl$)[A-Za-z0-9][A-Za-z0-9._-]*\.jsonl$/,
      'expected a plain file name that ends in .jsonl (it is written in the directory of the run)',
    )
    .nullable()
    .default('output.jsonl')
    .describe('answers, a line per prompt; null: show the first of every batch, write nothing'),
  model: frozenModelSchema.prefault({}).describe('the model that answers'),
  dataset: promptOptions.describe('prompts'),
  gen: generationSchema.prefault({}).describe('generation'),
  allocation: mfcSchema.prefault({}).describe('how a batch is cut'),
});

/** Options of `real gen`. */
export type GenConfig = z.infer<typeof genObject>;

/** Schema of the options of `real gen`. */
export const genSchema = genObject.superRefine(
  checks<GenConfig>(checkCommon, (config, report) => {
    checkMfc(config.allocation, 'allocation', config.dataset.train_bs_n_seqs, report);
    checkModel(config.model, 'model', false, report);
  }),
);
