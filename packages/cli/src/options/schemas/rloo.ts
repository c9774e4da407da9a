/** `real rloo`. Options that it shares with PPO have PPO's names, under `ppo.`. */
import { rlooOptionsSchema, rlooPpoOptionsSchema } from '@realhf/model';
import { z } from 'zod';

import { checkReward, rewardSchema } from '../../rewards/options.js';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, trainPromptOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema, modelSchema, referenceOptions } from './model.js';

const rlooObject = z.object({
  ...commonShape,
  group_size: rlooOptionsSchema.shape.group_size,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  ref: frozenModelSchema
    .prefault({})
    .describe('the frozen policy that the KL penalty compares with; not needed with ppo.kl_ctl=0'),
  rew: frozenModelSchema
    .prefault({})
    .describe('the frozen reward model; not needed with reward.fn or reward.url'),
  reward: rewardSchema.prefault({}).describe('rewards from code or a service'),
  dataset: trainPromptOptions.describe('prompts'),
  ppo: rlooPpoOptionsSchema.prefault({}).describe('the algorithm'),
  actor_gen: mfcSchema.prefault({}).describe('generation by the actor'),
  rew_inf: mfcSchema.prefault({}).describe('scores by the reward model'),
  ref_inf: mfcSchema.prefault({}).describe('log-probs by the reference model'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
});

/** Options of `real rloo`. */
export type RlooConfig = z.infer<typeof rlooObject>;

/** Schema of the options of `real rloo`. */
export const rlooSchema = rlooObject.superRefine(
  checks<RlooConfig>(checkCommon, checkEvaluation, (config, report) => {
    const batch = config.dataset.train_bs_n_seqs;
    const n = config.ppo.ppo_n_minibatches;
    if (n > batch)
      report(
        ['ppo', 'ppo_n_minibatches'],
        `a batch of ${batch} prompts has no ${n} minibatches; raise dataset.train_bs_n_seqs or lower it`,
      );
    for (const name of ['actor_gen', 'rew_inf', 'ref_inf'] as const)
      checkMfc(config[name], name, batch, report);
    checkMfc(config.actor_train, 'actor_train', Math.floor(batch / n), report);
    checkModel(config.actor, 'actor', false, report);
    if (config.ppo.kl_ctl > 0)
      checkModel(referenceOptions(config.actor, config.ref), 'ref', false, report);
    checkReward(config, report);
  }),
);
