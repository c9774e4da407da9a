/** `real ppo`: RLHF with an actor, a critic, a reference and a reward model, as six model function calls. */
import { ppoMFCNames, ppoMFCs } from '@realhf/dataflow';

import { openPrompts } from '../data/from-options.js';
import { rolloutEvaluation } from '../evaluate/rollout-evaluation.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { ppoSchema, type PpoConfig } from '../options/schemas/ppo.js';
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

/** What is worth knowing before a run in which no answer can have a score. */
function neverEnds(gen: PpoConfig['ppo']['gen']): string[] {
  if (gen.min_new_tokens < gen.max_new_tokens) return [];
  return [
    `ppo.gen.min_new_tokens is ${gen.min_new_tokens}, as much as max_new_tokens: no answer can end, and PPO gives an answer that was cut no score; lower it`,
  ];
}

/** Six calls on the roles actor, critic, ref, reward. */
export async function ppoSpec(
  config: PpoConfig,
  more: { readonly refEmaEta?: number } = {},
): Promise<ExperimentSpec> {
  const { actor, critic, ref, ppo, seed } = config;
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
    {
      role: 'critic',
      key: 'critic',
      options: critic,
      isCritic: true,
      seed: seed + 1,
      optimizer: critic.optimizer,
    },
    { role: 'ref', key: 'ref', options: referenceOptions(actor, ref), isCritic: false, seed },
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
      ppoMFCs({
        nSeqs: config.dataset.train_bs_n_seqs,
        logitsMask,
        actorArgs: { ...ppo, logits_mask: logitsMask },
        criticArgs: ppo,
        rewardArgs,
        ...(rewardInterface ? { rewardInterface } : {}),
        nMbs: microbatchesByName(ppoMFCNames, config),
        ...more,
      }),
      config,
    ),
    datasetKeys: ['packed_prompts'],
    nSeqs: config.dataset.train_bs_n_seqs,
    roles,
    calls: Object.fromEntries(ppoMFCNames.map((name) => [name, config[name]])),
    workload: { promptTokens: config.dataset.max_prompt_len, newTokens },
    tokenizer,
    openData: async () => {
      const data = await openPrompts(config.dataset, tokenizer, seed, { ...limits, newTokens });
      return { ...data, notes: [...data.notes, ...neverEnds(ppo.gen)] };
    },
    evaluate: rolloutEvaluation({
      config,
      gen: ppo.gen,
      rewardArgs,
      ref: 'ref',
    }),
    shown: [
      ['reward', 'actor_train', 'task_reward'],
      ['kl', 'actor_train', 'kl'],
      ['len', 'actor_train', 'avg_seq_len'],
    ],
  };
}

export async function runPpo(
  config: PpoConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('ppo', await ppoSpec(config), context, opened);
}

export const ppoCommand = defineCommand({
  name: 'ppo',
  summary: 'RLHF: proximal policy optimization against a reward model',
  schema: ppoSchema,
  examples: [
    'real ppo experiment_name=my-ppo actor.path=./sft ref.path=./sft critic.path=./rw rew.path=./rw dataset.path=prompts.jsonl dataset.train_bs_n_seqs=64 ppo.gen.max_new_tokens=128 ppo.gen.min_new_tokens=0',
  ],
  run: async (config, context) => {
    await runPpo(config, context);
  },
});
