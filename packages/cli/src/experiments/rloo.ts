/** `real rloo`: RLHF without a critic: an answer is compared with the others to its prompt. */
import { grpoMFCNames, rlooMFCs } from '@realhf/dataflow';

import { openPrompts } from '../data/from-options.js';
import { rolloutEvaluation } from '../evaluate/rollout-evaluation.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { rlooSchema, type RlooConfig } from '../options/schemas/rloo.js';
import { referenceOptions } from '../options/schemas/model.js';
import { externalReward, rewardRole } from '../rewards/external-reward.js';
import { microbatchesByName, requireOneVocabulary } from './layout.js';
import { roleText } from './load-model.js';
import { recordsMask } from './logits-mask.js';
import type { OpenedOps } from './open-ops.js';
import { runSpec } from './run-spec.js';
import type { ExperimentResult } from './run-steps.js';
import type { ExperimentSpec, RoleSpec } from './spec.js';

/** Four calls on the roles actor, ref, reward; three without a KL. */
export async function rlooSpec(config: RlooConfig): Promise<ExperimentSpec> {
  const { actor, ref, actor_gen, rew_inf, ref_inf, actor_train, ppo, seed } = config;
  const withRef = ppo.kl_ctl > 0;
  const calls = { actor_gen, rew_inf, ref_inf, actor_train };
  const { tokenizer, limits } = await roleText(actor, 'actor');
  const { optimizer } = actor;
  const roles: RoleSpec[] = [
    { role: 'actor', key: 'actor', options: actor, isCritic: false, seed, optimizer },
    ...(withRef
      ? [{ role: 'ref', key: 'ref', options: referenceOptions(actor, ref), isCritic: false, seed }]
      : []),
    rewardRole(config),
  ];
  await requireOneVocabulary(limits.vocabSize, roles);
  const logitsMask = recordsMask(ppo.gen, limits.vocabSize);
  const newTokens = ppo.gen.max_new_tokens;
  const rewardArgs = {
    output_scaling: ppo.reward_output_scaling,
    output_bias: ppo.reward_output_bias,
  };
  const rewardInterface = externalReward(config, rewardArgs);
  const mfcs = rlooMFCs({
    nSeqs: config.dataset.train_bs_n_seqs,
    logitsMask,
    withRef,
    actorArgs: { ...ppo, group_size: config.group_size, logits_mask: logitsMask },
    rewardArgs,
    ...(rewardInterface ? { rewardInterface } : {}),
    nMbs: microbatchesByName(grpoMFCNames, calls),
  });
  return {
    config,
    mfcs,
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

export async function runRloo(
  config: RlooConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('rloo', await rlooSpec(config), context, opened);
}

export const rlooCommand = defineCommand({
  name: 'rloo',
  summary: 'RLHF without a critic: REINFORCE with a leave-one-out baseline',
  schema: rlooSchema,
  examples: [
    'real rloo experiment_name=my-rloo actor.path=./sft ref.path=./sft rew.path=./rw dataset.path=prompts.jsonl dataset.train_bs_n_seqs=32 group_size=4 ppo.gen.max_new_tokens=128 ppo.gen.min_new_tokens=0',
  ],
  run: async (config, context) => {
    await runRloo(config, context);
  },
});
