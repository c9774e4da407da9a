/** `real raft`. */
import { raftOptionsSchema } from '@realhf/model';
import { z } from 'zod';

import { checkReward, rewardSchema } from '../../rewards/options.js';
import { checkCommon, checks, commonShape } from './common.js';
import { checkEvaluation, trainPromptOptions } from './dataset.js';
import { checkMfc, mfcSchema } from './mfc.js';
import { checkModel, frozenModelSchema, modelSchema } from './model.js';

const raftObject = z.object({
  ...commonShape,
  ...raftOptionsSchema.shape,
  actor: modelSchema.prefault({}).describe('the policy in training'),
  rew: frozenModelSchema
    .prefault({})
    .describe('the frozen reward model; not needed with reward.fn or reward.url'),
  reward: rewardSchema.prefault({}).describe('rewards from code or a service'),
  dataset: trainPromptOptions.describe('prompts'),
  actor_gen: mfcSchema.prefault({}).describe('generation by the actor'),
  rew_inf: mfcSchema.prefault({}).describe('scores by the reward model'),
  actor_train: mfcSchema.prefault({}).describe('training of the actor'),
});

/** Options of `real raft`. */
export type RaftConfig = z.infer<typeof raftObject>;

/** Schema of the options of `real raft`. */
export const raftSchema = raftObject.superRefine(
  checks<RaftConfig>(checkCommon, checkEvaluation, (config, report) => {
    const batch = config.dataset.train_bs_n_seqs;
    const n = config.ppo_n_minibatches;
    if (n > batch)
      report(
        ['ppo_n_minibatches'],
        `a batch of ${batch} prompts has no ${n} minibatches; raise dataset.train_bs_n_seqs or lower it`,
      );
    for (const name of ['actor_gen', 'rew_inf'] as const)
      checkMfc(config[name], name, batch, report);
    checkMfc(config.actor_train, 'actor_train', Math.floor(batch / n), report);
    if (config.gen.greedy)
      report(['gen', 'greedy'], 'greedy answers to a prompt are all the same; leave it out');
    checkModel(config.actor, 'actor', false, report);
    checkReward(config, report);
  }),
);
