/** `real grpo` (reference: A8). Options that it shares with PPO have PPO's names, under `ppo.`. */
import { grpoOptionsSchema, grpoPpoOptionsSchema } from '@realhf/model';
import { z } from 'zod';

import { envSchema } from '../../rewards/environment.js';
import { checkReward, rewardSchema } from '../../rewards/options.js';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, trainPromptOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema, modelSchema, referenceOptions } from './model.js';

const grpoObject = z.object({
  ...commonShape,
  ...grpoOptionsSchema.pick({ group_size: true, loss_averaging: true }).shape,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  ref: frozenModelSchema
    .prefault({})
    .describe('the frozen policy that the KL penalty compares with; not needed with ppo.kl_ctl=0'),
  rew: frozenModelSchema
    .prefault({})
    .describe('the frozen reward model; not needed with reward.fn or reward.url'),
  reward: rewardSchema.prefault({}).describe('rewards from code or a service'),
  env: envSchema.prefault({}).describe('an environment that the actor talks to'),
  dataset: trainPromptOptions.describe('prompts'),
  ppo: grpoPpoOptionsSchema.prefault({}).describe('the algorithm'),
  actor_gen: mfcSchema.prefault({}).describe('generation by the actor'),
  rew_inf: mfcSchema.prefault({}).describe('scores by the reward model'),
  ref_inf: mfcSchema.prefault({}).describe('log-probs by the reference model'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
});

/** Options of `real grpo`. */
export type GrpoConfig = z.infer<typeof grpoObject>;

/** Schema of the options of `real grpo`. */
export const grpoSchema = grpoObject.superRefine(
  checks<GrpoConfig>(checkCommon, checkEvaluation, (config, report) => {
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
