/** `real ppo` (reference: A4, P1–P12). Defaults are those of the reference's command line, not of its interfaces. */
import { generationSchema } from '@realhf/api';
import { z } from 'zod';
import { checkCommon, checks, commonShape } from './common.js';
import { promptOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema, modelSchema } from './model.js';

const positive = () => z.number().positive();

export const ppoHyperparameters = z.object({
  gen: generationSchema.prefault({}).describe('sampling of the answers'),
  ppo_n_minibatches: positive()
    .int()
    .default(4)
    .describe('optimizer steps per batch, one minibatch each'),
  kl_ctl: z
    .number()
    .nonnegative()
    .default(0.1)
    .describe('weight of the KL penalty against the reference model'),
  use_adaptive_kl_ctl: z
    .boolean()
    .default(false)
    .describe('steer kl_ctl so that the KL stays near adaptive_kl_target'),
  adaptive_kl_target: positive().default(6).describe('KL in nats per sequence that is aimed at'),
  adaptive_kl_horizon: positive().default(10000).describe('sequences over which kl_ctl adapts'),
  discount: z.number().min(0).max(1).default(1).describe('discount of later rewards (γ)'),
  gae_lambda: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe('generalized advantage estimation: bias against variance (λ)'),
  eps_clip: positive().default(0.2).describe('clip of the importance ratio'),
  value_eps_clip: positive().default(0.2).describe('clip of the change of the value'),
  max_reward_clip: positive().default(20).describe('scores are clipped to ± this'),
  reward_output_scaling: z.number().default(1).describe('score = (output − bias) · scaling'),
  reward_output_bias: z.number().default(0).describe('subtracted from the reward model’s output'),
  early_stop_imp_ratio: positive()
    .nullable()
    .default(5)
    .describe('skip a minibatch whose mean importance ratio exceeds this; null: never'),
  early_stop_kl: positive()
    .nullable()
    .default(null)
    .describe('skip a minibatch whose KL from the old policy exceeds this; null: never'),
  adv_norm: z.boolean().default(true).describe('normalize advantages over the batch'),
  value_norm: z
    .boolean()
    .default(true)
    .describe('the critic learns returns normalized by their running mean and deviation'),
  value_norm_type: z
    .enum(['exp', 'ma'])
    .default('exp')
    .describe('exp: exponential moving average; ma: average of all'),
  value_norm_beta: z
    .number()
    .min(0)
    .lt(1)
    .default(0.99995)
    .describe('decay of the exponential moving average'),
  value_norm_eps: positive().default(1e-5).describe('smallest divisor of its debiasing'),
});
export type PpoHyperparameters = z.infer<typeof ppoHyperparameters>;

/** Without the cross-field checks, for experiments that extend it. */
export const ppoObject = z.object({
  ...commonShape,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  critic: modelSchema.prefault({}).describe('the value model in training'),
  ref: frozenModelSchema
    .prefault({})
    .describe('the frozen policy that the KL penalty compares with'),
  rew: frozenModelSchema.prefault({}).describe('the frozen reward model'),
  dataset: promptOptions.describe('prompts'),
  ppo: ppoHyperparameters.prefault({}).describe('the algorithm'),
  actor_gen: mfcSchema.prefault({}).describe('generation by the actor'),
  rew_inf: mfcSchema.prefault({}).describe('scores by the reward model'),
  ref_inf: mfcSchema.prefault({}).describe('log-probs by the reference model'),
  critic_inf: mfcSchema.prefault({}).describe('values by the critic'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
  critic_train: mfcSchema.prefault({}).describe('training of the critic'),
});
export type PpoConfig = z.infer<typeof ppoObject>;

type PpoCheck = (config: PpoConfig, report: Parameters<typeof checkCommon>[1]) => void;

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
  checkModel(config.ref, 'ref', false, report);
  checkModel(config.rew, 'rew', true, report);
};

export const ppoSchema = ppoObject.superRefine(checks<PpoConfig>(checkCommon, checkPpo));
