/** `real remax` (reference: A9). */
import { remaxOptionsSchema } from '@realhf/model';
import { z } from 'zod';

import { checkReward, rewardSchema } from '../../rewards/options.js';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, trainPromptOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema, modelSchema } from './model.js';

const remaxObject = z.object({
  ...commonShape,
  ...remaxOptionsSchema.shape,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  rew: frozenModelSchema
    .prefault({})
    .describe('the frozen reward model; not needed with reward.fn or reward.url'),
  reward: rewardSchema.prefault({}).describe('rewards from code or a service'),
  dataset: trainPromptOptions.describe('prompts'),
  sample_gen: mfcSchema.prefault({}).describe('sampled answers of the actor'),
  greedy_gen: mfcSchema.prefault({}).describe('greedy answers of the actor'),
  sample_rw: mfcSchema.prefault({}).describe('scores of sampled answers'),
  greedy_rw: mfcSchema.prefault({}).describe('scores of greedy answers'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
});

/** Options of `real remax`. */
export type RemaxConfig = z.infer<typeof remaxObject>;

/** Schema of the options of `real remax`. */
export const remaxSchema = remaxObject.superRefine(
  checks<RemaxConfig>(checkCommon, checkEvaluation, (config, report) => {
    for (const name of [
      'sample_gen',
      'greedy_gen',
      'sample_rw',
      'greedy_rw',
      'actor_train',
    ] as const)
      checkMfc(config[name], name, config.dataset.train_bs_n_seqs, report);
    if (config.gen.greedy)
      report(
        ['gen', 'greedy'],
        'a greedy answer compared with itself has no advantage; leave it out',
      );
    checkModel(config.actor, 'actor', false, report);
    checkReward(config, report);
  }),
);
