/** `real grpo`: RLHF without a critic: the answers to a prompt are judged against each other. */
import { grpoMFCNames, grpoMFCs } from '@realhf/dataflow';

import { openPrompts } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { grpoSchema, type GrpoConfig } from '../options/schemas/grpo.js';
import { microbatchesByName, requireOneDevice, requireOneVocabulary } from './layout.js';
import { loadModel, roleText } from './load-model.js';
import { recordsMask } from './logits-mask.js';
import { withOps, type OpenedOps } from './open-ops.js';
import { runExperiment, type ExperimentResult } from './run-experiment.js';

export async function runGrpo(
  config: GrpoConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  const { actor_gen, rew_inf, ref_inf, actor_train, ppo, seed } = config;
  const calls = { actor_gen, rew_inf, ref_inf, actor_train };
  requireOneDevice(calls);
  const { tokenizer, limits } = await roleText(config.actor, 'actor');
  const data = openPrompts(config.dataset, tokenizer, seed, {
    ...limits,
    newTokens: ppo.gen.max_new_tokens,
  });
  return withOps(opened, config, async ({ ops }) => {
    const load = (role: 'actor' | 'ref') =>
      loadModel(ops, { role, options: config[role], isCritic: false, seed });
    const actor = await load('actor');
    const ref = await load('ref');
    // Another seed than the actor's: from scratch they should not share weights.
    const scorer = { role: 'rew', options: config.rew, isCritic: true, seed: seed + 1 };
    const reward = { ...(await loadModel(ops, scorer)), role: 'reward' };
    requireOneVocabulary(actor, [ref, reward]);
    const logitsMask = recordsMask(ppo.gen, actor.model.config.vocabSize);
    return runExperiment(
      {
        config,
        mfcs: grpoMFCs({
          nSeqs: config.dataset.train_bs_n_seqs,
          logitsMask,
          actorArgs: {
            ...ppo,
            group_size: config.group_size,
            loss_averaging: config.loss_averaging,
            logits_mask: logitsMask,
          },
          rewardArgs: {
            output_scaling: ppo.reward_output_scaling,
            output_bias: ppo.reward_output_bias,
          },
          nMbs: microbatchesByName(grpoMFCNames, calls),
        }),
        datasetKeys: ['packed_prompts'],
        nSeqs: config.dataset.train_bs_n_seqs,
        models: [
          { loaded: actor, optimizer: config.actor.optimizer },
          { loaded: ref },
          { loaded: reward },
        ],
        tokenizer,
        data: data.train,
        shown: [
          ['reward', 'actor_train', 'task_reward'],
          ['kl', 'actor_train', 'kl'],
          ['len', 'actor_train', 'avg_seq_len'],
        ],
        notes: data.notes,
      },
      context,
    );
  });
}

export const grpoCommand = defineCommand({
  name: 'grpo',
  summary: 'RLHF without a critic: group relative policy optimization',
  schema: grpoSchema,
  examples: [
    'real grpo experiment_name=my-grpo actor.path=./sft ref.path=./sft rew.path=./rw dataset.path=prompts.jsonl dataset.train_bs_n_seqs=32 group_size=8 ppo.gen.max_new_tokens=128 ppo.gen.min_new_tokens=0',
  ],
  run: async (config, context) => {
    await runGrpo(config, context);
  },
});
