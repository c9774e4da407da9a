/** `real ppo` (reference: A4, P1–P12). Defaults are those of the reference's command line, not of its interfaces. */
import { ppoOptionsSchema } from '@realhf/model';
import { z } from 'zod';

import { envSchema } from '../../rewards/environment.js';
import { checkReward, rewardSchema } from '../../rewards/options.js';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, trainPromptOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema, modelSchema, referenceOptions } from './model.js';

/** Without the cross-field checks, for experiments that extend it. */
export const ppoObject = z.object({
  ...commonShape,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  critic: modelSchema.prefault({}).describe('the value model in training'),
  ref: frozenModelSchema
    .prefault({})
    .describe('the frozen policy that the KL penalty compares with'),
  rew: frozenModelSchema
    .prefault({})
    .describe('the frozen reward model; not needed with reward.fn or reward.url'),
  reward: rewardSchema.prefault({}).describe('rewards from code or a service'),
  env: envSchema.prefault({}).describe('an environment that the actor talks to'),
  dataset: trainPromptOptions.describe('prompts'),
  ppo: ppoOptionsSchema.prefault({}).describe('the algorithm'),
  actor_gen: mfcSchema.prefault({}).describe('generation by the actor'),
  rew_inf: mfcSchema.prefault({}).describe('scores by the reward model'),
  ref_inf: mfcSchema.prefault({}).describe('log-probs by the reference model'),
  critic_inf: mfcSchema.prefault({}).describe('values by the critic'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
  critic_train: mfcSchema.prefault({}).describe('training of the critic'),
});

/** Options of `real ppo`. */
export type PpoConfig = z.infer<typeof ppoObject>;

type PpoCheck = (config: PpoConfig, report: Parameters<typeof checkCommon>[1]) => void;

/** Checks that span the options of PPO. */
export const checkPpo: PpoCheck = (config, report) => {
  const batch = config.dataset.train_bs_n_seqs;
  const n = config.ppo.ppo_n_minibatches;
  if (n > batch)
    report(
      ['ppo', 'ppo_n_minibatches'],
      `a batch of ${batch} prompts has no ${n} minibatches; raise dataset.train_bs_n_seqs or lower it`,
    );
  for (const name of ['actor_gen', 'rew_inf', 'ref_inf', 'critic_inf'] as const)
    checkMfc(config[name], name, batch, report);
  for (const name of ['actor_train', 'critic_train'] as const)
    checkMfc(config[name], name, Math.floor(batch / n), report);
  checkModel(config.actor, 'actor', false, report);
  checkModel(config.critic, 'critic', true, report);
  checkModel(referenceOptions(config.actor, config.ref), 'ref', false, report);
  checkReward(config, report);
  checkEvaluation(config, report);
};

/** Schema of the options of `real ppo`. */
export const ppoSchema = ppoObject.superRefine(checks<PpoConfig>(checkCommon, checkPpo));
