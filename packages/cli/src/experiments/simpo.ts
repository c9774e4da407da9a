/** `real simpo`: preferences learned without a reward model and without a reference. */
import { simpoMFCs } from '@realhf/dataflow';

import { openRwPairs } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { simpoSchema, type SimpoConfig } from '../options/schemas/simpo.js';
import { microbatchesOf } from './layout.js';
import { roleText } from './load-model.js';
import type { OpenedOps } from './open-ops.js';
import { runSpec } from './run-spec.js';
import type { ExperimentResult } from './run-steps.js';
import type { ExperimentSpec } from './spec.js';

/** One train_step on the role actor. */
export async function simpoSpec(config: SimpoConfig): Promise<ExperimentSpec> {
  const { actor, actor_train, beta, simpo_gamma, label_smoothing, seed } = config;
  const { tokenizer, limits } = await roleText(actor, 'actor');
  const { optimizer } = actor;
  return {
    config,
    mfcs: simpoMFCs({
      nSeqs: config.dataset.train_bs_n_seqs,
      interfaceArgs: { beta, simpo_gamma, label_smoothing },
      ...microbatchesOf(actor_train),
    }),
    datasetKeys: ['packed_input_ids', 'prompt_lens'],
    nSeqs: config.dataset.train_bs_n_seqs,
    roles: [{ role: 'actor', key: 'actor', options: actor, isCritic: false, seed, optimizer }],
    calls: { actor_train },
    workload: { promptTokens: config.dataset.max_seqlen, newTokens: 0, sequences: 2 },
    tokenizer,
    openData: () => openRwPairs(config.dataset, tokenizer, seed, limits),
    shown: [
      ['loss', 'actor_train', 'loss'],
      ['acc', 'actor_train', 'acc'],
      ['margin', 'actor_train', 'margin'],
    ],
  };
}

export async function runSimpo(
  config: SimpoConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('simpo', await simpoSpec(config), context, opened);
}

export const simpoCommand = defineCommand({
  name: 'simpo',
  summary: 'preference optimization without a reference model',
  schema: simpoSchema,
  examples: [
    'real simpo experiment_name=my-simpo actor.path=./sft dataset.train_path=pairs.jsonl dataset.train_bs_n_seqs=64 beta=2 simpo_gamma=1',
  ],
  run: async (config, context) => {
    await runSimpo(config, context);
  },
});
