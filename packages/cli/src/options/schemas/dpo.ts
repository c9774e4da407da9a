/** `real dpo` (reference: A3). beta is an option of its own, as on the reference's command line. */
import { dpoOptionsSchema } from '@realhf/model';
import { z } from 'zod';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, rwPairOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema, modelSchema, referenceOptions } from './model.js';

const dpoObject = z.object({
  ...commonShape,
  ...dpoOptionsSchema.shape,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  ref: frozenModelSchema
    .prefault({})
    .describe('the frozen policy that the actor is compared with; usually what actor starts from'),
  dataset: rwPairOptions.describe('prompts with better and worse answers'),
  ref_inf: mfcSchema.prefault({}).describe('log-probs by the reference model'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
});

/** Options of `real dpo`. */
export type DpoConfig = z.infer<typeof dpoObject>;

/** Schema of the options of `real dpo`. */
export const dpoSchema = dpoObject.superRefine(
  checks<DpoConfig>(checkCommon, checkEvaluation, (config, report) => {
    for (const name of ['ref_inf', 'actor_train'] as const)
      checkMfc(config[name], name, config.dataset.train_bs_n_seqs, report);
    checkModel(config.actor, 'actor', false, report);
    checkModel(referenceOptions(config.actor, config.ref), 'ref', false, report);
    if (config.loss_type !== 'sigmoid' && config.label_smoothing > 0)
      report(['label_smoothing'], 'it belongs to loss_type=sigmoid; leave it out');
  }),
);
