/** `real remax`: REINFORCE whose baseline is the reward of the greedy answer. */
import { remaxMFCNames, remaxMFCs } from '@realhf/dataflow';

import { openPrompts } from '../data/from-options.js';
import { rolloutEvaluation } from '../evaluate/rollout-evaluation.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { remaxSchema, type RemaxConfig } from '../options/schemas/remax.js';
import { externalReward, rewardRole } from '../rewards/external-reward.js';
import { microbatchesByName, requireOneVocabulary } from './layout.js';
import { roleText } from './load-model.js';
import { recordsMask } from './logits-mask.js';
import type { OpenedOps } from './open-ops.js';
import { runSpec } from './run-spec.js';
import type { ExperimentResult } from './run-steps.js';
import type { ExperimentSpec, RoleSpec } from './spec.js';

/** Five calls on the roles actor, reward. */
export async function remaxSpec(config: RemaxConfig): Promise<ExperimentSpec> {
  const { actor, gen, seed, sample_gen, greedy_gen, sample_rw, greedy_rw, actor_train } = config;
  const calls = { sample_gen, greedy_gen, sample_rw, greedy_rw, actor_train };
  const { tokenizer, limits } = await roleText(actor, 'actor');
  const { optimizer } = actor;
  const roles: RoleSpec[] = [
    { role: 'actor', key: 'actor', options: actor, isCritic: false, seed, optimizer },
    rewardRole(config),
  ];
  await requireOneVocabulary(limits.vocabSize, roles);
  const logitsMask = recordsMask(gen, limits.vocabSize);
  const newTokens = gen.max_new_tokens;
  const { discount, adv_norm, mask_truncated_completions, entropy_coeff } = config;
  const rewardArgs = {
    output_scaling: config.reward_output_scaling,
    output_bias: config.reward_output_bias,
  };
  const rewardInterface = externalReward(config, rewardArgs);
  return {
    config,
    mfcs: remaxMFCs({
      nSeqs: config.dataset.train_bs_n_seqs,
      logitsMask,
      actorArgs: {
        ...{ gen, discount, adv_norm, mask_truncated_completions, entropy_coeff },
        logits_mask: logitsMask,
      },
      rewardArgs,
      ...(rewardInterface ? { rewardInterface } : {}),
      nMbs: microbatchesByName(remaxMFCNames, calls),
    }),
    datasetKeys: ['packed_prompts'],
    nSeqs: config.dataset.train_bs_n_seqs,
    roles,
    calls,
    workload: { promptTokens: config.dataset.max_prompt_len, newTokens },
    tokenizer,
    openData: () => openPrompts(config.dataset, tokenizer, seed, { ...limits, newTokens }),
    evaluate: rolloutEvaluation({
      config,
      gen: gen,
      rewardArgs,
    }),
    shown: [
      ['reward', 'actor_train', 'task_reward'],
      ['greedy', 'actor_train', 'greedy_reward'],
      ['len', 'actor_train', 'avg_seq_len'],
    ],
  };
}

export async function runRemax(
  config: RemaxConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('remax', await remaxSpec(config), context, opened);
}

export const remaxCommand = defineCommand({
  name: 'remax',
  summary: 'RLHF without a critic: REINFORCE against the reward of the greedy answer',
  schema: remaxSchema,
  examples: [
    'real remax experiment_name=my-remax actor.path=./sft rew.path=./rw dataset.path=prompts.jsonl dataset.train_bs_n_seqs=64 gen.max_new_tokens=128 gen.min_new_tokens=0',
  ],
  run: async (config, context) => {
    await runRemax(config, context);
  },
});

/** The reference's name for it. */
export const reinforceCommand = defineCommand({
  ...remaxCommand,
  name: 'reinforce',
  summary: "as remax: the reference's name",
});
