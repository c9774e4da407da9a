/** `real grpo`: RLHF without a critic: the answers to a prompt are judged against each other. */
import { grpoMFCNames, grpoMFCs } from '@realhf/dataflow';

import { openPrompts } from '../data/from-options.js';
import { rolloutEvaluation } from '../evaluate/rollout-evaluation.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { grpoSchema, type GrpoConfig } from '../options/schemas/grpo.js';
import { referenceOptions } from '../options/schemas/model.js';
import { conversationTokens, withEnvironment } from '../rewards/environment.js';
import { externalReward, rewardRole } from '../rewards/external-reward.js';
import { microbatchesByName, requireOneVocabulary } from './layout.js';
import { roleText } from './load-model.js';
import { recordsMask } from './logits-mask.js';
import type { OpenedOps } from './open-ops.js';
import type { ExperimentResult } from './run-steps.js';
import { runSpec } from './run-spec.js';
import type { ExperimentSpec, RoleSpec } from './spec.js';

/** Four calls on the roles actor, ref, reward; three without a KL. */
export async function grpoSpec(config: GrpoConfig): Promise<ExperimentSpec> {
  const { actor, ref, actor_gen, rew_inf, ref_inf, actor_train, ppo, seed } = config;
  const withRef = ppo.kl_ctl > 0;
  const calls = { actor_gen, rew_inf, ref_inf, actor_train };
  const { tokenizer, limits } = await roleText(actor, 'actor');
  const roles: RoleSpec[] = [
    {
      role: 'actor',
      key: 'actor',
      options: actor,
      isCritic: false,
      seed,
      optimizer: actor.optimizer,
    },
    ...(withRef
      ? [{ role: 'ref', key: 'ref', options: referenceOptions(actor, ref), isCritic: false, seed }]
      : []),
    rewardRole(config),
  ];
  await requireOneVocabulary(limits.vocabSize, roles);
  const logitsMask = recordsMask(ppo.gen, limits.vocabSize);
  const newTokens = conversationTokens(config, ppo.gen.max_new_tokens);
  const rewardArgs = {
    output_scaling: ppo.reward_output_scaling,
    output_bias: ppo.reward_output_bias,
  };
  const rewardInterface = externalReward(config, rewardArgs);
  return {
    config,
    mfcs: withEnvironment(
      grpoMFCs({
        nSeqs: config.dataset.train_bs_n_seqs,
        logitsMask,
        withRef,
        actorArgs: {
          ...ppo,
          group_size: config.group_size,
          loss_averaging: config.loss_averaging,
          logits_mask: logitsMask,
        },
        rewardArgs,
        ...(rewardInterface ? { rewardInterface } : {}),
        nMbs: microbatchesByName(grpoMFCNames, calls),
      }),
      config,
    ),
    datasetKeys: ['packed_prompts'],
    nSeqs: config.dataset.train_bs_n_seqs,
    roles,
    calls: withRef ? calls : { actor_gen, rew_inf, actor_train },
    workload: {
      promptTokens: config.dataset.max_prompt_len,
      newTokens,
      sequences: config.group_size,
    },
    tokenizer,
    openData: () => openPrompts(config.dataset, tokenizer, seed, { ...limits, newTokens }),
    evaluate: rolloutEvaluation({
      config,
      gen: ppo.gen,
      rewardArgs,
      ...(withRef ? { ref: 'ref' } : {}),
    }),
    shown: [
      ['reward', 'actor_train', 'task_reward'],
      ['kl', 'actor_train', 'kl'],
      ['len', 'actor_train', 'avg_seq_len'],
    ],
  };
}

export async function runGrpo(
  config: GrpoConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('grpo', await grpoSpec(config), context, opened);
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
