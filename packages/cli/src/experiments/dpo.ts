/** `real dpo`: preferences learned without a reward model, against a frozen reference. */
import { dpoMFCNames, dpoMFCs } from '@realhf/dataflow';

import { openRwPairs } from '../data/from-options.js';
import { dpoEvaluation } from '../evaluate/dpo-evaluation.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { dpoSchema, type DpoConfig } from '../options/schemas/dpo.js';
import { referenceOptions } from '../options/schemas/model.js';
import { microbatchesByName, requireOneVocabulary } from './layout.js';
import { roleText } from './load-model.js';
import type { OpenedOps } from './open-ops.js';
import type { ExperimentResult } from './run-steps.js';
import { runSpec } from './run-spec.js';
import type { ExperimentSpec, RoleSpec } from './spec.js';

/** Two calls: the reference's log-probs, then the actor's train_step. */
export async function dpoSpec(config: DpoConfig): Promise<ExperimentSpec> {
  const { actor, ref, ref_inf, actor_train, beta, loss_type, label_smoothing, seed } = config;
  const { tokenizer, limits } = await roleText(actor, 'actor');
  const interfaceArgs = { beta, loss_type, label_smoothing };
  const calls = { ref_inf, actor_train };
  const roles: RoleSpec[] = [
    {
      role: 'actor',
      key: 'actor',
      options: actor,
      isCritic: false,
      seed,
      optimizer: actor.optimizer,
    },
    { role: 'ref', key: 'ref', options: referenceOptions(actor, ref), isCritic: false, seed },
  ];
  await requireOneVocabulary(limits.vocabSize, roles);
  return {
    config,
    mfcs: dpoMFCs({
      nSeqs: config.dataset.train_bs_n_seqs,
      interfaceArgs,
      nMbs: microbatchesByName(dpoMFCNames, calls),
    }),
    datasetKeys: ['packed_input_ids', 'prompt_lens'],
    nSeqs: config.dataset.train_bs_n_seqs,
    roles,
    calls,
    workload: { promptTokens: config.dataset.max_seqlen, newTokens: 0, sequences: 2 },
    tokenizer,
    openData: () => openRwPairs(config.dataset, tokenizer, seed, limits),
    evaluate: dpoEvaluation(interfaceArgs),
    shown: [
      ['loss', 'actor_train', 'loss'],
      ['acc', 'actor_train', 'acc'],
      ['margin', 'actor_train', 'margin'],
    ],
  };
}

export async function runDpo(
  config: DpoConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('dpo', await dpoSpec(config), context, opened);
}

export const dpoCommand = defineCommand({
  name: 'dpo',
  summary: 'direct preference optimization on preference pairs',
  schema: dpoSchema,
  examples: [
    'real dpo experiment_name=my-dpo actor.path=./sft ref.path=./sft dataset.train_path=pairs.jsonl dataset.train_bs_n_seqs=64 beta=0.1',
  ],
  run: async (config, context) => {
    await runDpo(config, context);
  },
});
