/** `real raft`: the best of several answers to a prompt, by a reward model, is what the policy is trained on. */
import { raftMFCNames, raftMFCs } from '@realhf/dataflow';

import { openPrompts } from '../data/from-options.js';
import { rolloutEvaluation } from '../evaluate/rollout-evaluation.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { raftSchema, type RaftConfig } from '../options/schemas/raft.js';
import { externalReward, rewardRole } from '../rewards/external-reward.js';
import { microbatchesByName, requireOneVocabulary } from './layout.js';
import { roleText } from './load-model.js';
import type { OpenedOps } from './open-ops.js';
import { runSpec } from './run-spec.js';
import type { ExperimentResult } from './run-steps.js';
import type { ExperimentSpec, RoleSpec } from './spec.js';

/** Three calls on the roles actor, reward. */
export async function raftSpec(config: RaftConfig): Promise<ExperimentSpec> {
  const { actor, gen, group_size, ppo_n_minibatches, seed } = config;
  const { actor_gen, rew_inf, actor_train } = config;
  const calls = { actor_gen, rew_inf, actor_train };
  const { tokenizer, limits } = await roleText(actor, 'actor');
  const { optimizer } = actor;
  const roles: RoleSpec[] = [
    { role: 'actor', key: 'actor', options: actor, isCritic: false, seed, optimizer },
    rewardRole(config),
  ];
  await requireOneVocabulary(limits.vocabSize, roles);
  const newTokens = gen.max_new_tokens;
  const rewardArgs = {
    output_scaling: config.reward_output_scaling,
    output_bias: config.reward_output_bias,
  };
  const rewardInterface = externalReward(config, rewardArgs);
  return {
    config,
    mfcs: raftMFCs({
      nSeqs: config.dataset.train_bs_n_seqs,
      actorArgs: { gen, group_size, ppo_n_minibatches },
      rewardArgs,
      ...(rewardInterface ? { rewardInterface } : {}),
      nMbs: microbatchesByName(raftMFCNames, calls),
    }),
    datasetKeys: ['packed_prompts'],
    nSeqs: config.dataset.train_bs_n_seqs,
    roles,
    calls,
    workload: { promptTokens: config.dataset.max_prompt_len, newTokens, sequences: group_size },
    tokenizer,
    openData: () => openPrompts(config.dataset, tokenizer, seed, { ...limits, newTokens }),
    evaluate: rolloutEvaluation({
      config,
      gen: gen,
      rewardArgs,
    }),
    shown: [
      ['reward', 'actor_train', 'task_reward'],
      ['best', 'actor_train', 'best_reward'],
      ['len', 'actor_train', 'avg_seq_len'],
    ],
  };
}

export async function runRaft(
  config: RaftConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('raft', await raftSpec(config), context, opened);
}

export const raftCommand = defineCommand({
  name: 'raft',
  summary: 'best of n by a reward model, then supervised training on the best',
  schema: raftSchema,
  examples: [
    'real raft experiment_name=my-raft actor.path=./sft rew.path=./rw dataset.path=prompts.jsonl dataset.train_bs_n_seqs=32 group_size=8 gen.max_new_tokens=128 gen.min_new_tokens=0',
  ],
  run: async (config, context) => {
    await runRaft(config, context);
  },
});
