/** `real rw`: a reward model from preference pairs. */
import { rwMFCs } from '@realhf/dataflow';

import { openRwPairs } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { rwSchema, type RwConfig } from '../options/schemas/rw.js';
import { microbatchesOf } from './layout.js';
import { roleText } from './load-model.js';
import type { OpenedOps } from './open-ops.js';
import type { ExperimentResult } from './run-steps.js';
import { runSpec } from './run-spec.js';
import type { ExperimentSpec } from './spec.js';

/** One train_step of a critic on role `default`. */
export async function rwSpec(config: RwConfig): Promise<ExperimentSpec> {
  const { dataset, model, seed } = config;
  const { tokenizer, limits } = await roleText(model, 'model');
  return {
    config,
    mfcs: rwMFCs({ nSeqs: dataset.train_bs_n_seqs, ...microbatchesOf(config.allocation) }),
    datasetKeys: ['packed_input_ids', 'prompt_lens'],
    nSeqs: dataset.train_bs_n_seqs,
    roles: [
      {
        role: 'default',
        key: 'model',
        options: model,
        isCritic: true,
        seed,
        optimizer: model.optimizer,
      },
    ],
    calls: { rwTrain: config.allocation },
    workload: { promptTokens: dataset.max_seqlen, newTokens: 0, sequences: 2 },
    tokenizer,
    openData: () => openRwPairs(dataset, tokenizer, seed, limits),
    shown: [
      ['loss', 'rwTrain', 'loss'],
      ['acc', 'rwTrain', 'acc'],
    ],
  };
}

export async function runRw(
  config: RwConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('rw', await rwSpec(config), context, opened);
}

export const rwCommand = defineCommand({
  name: 'rw',
  summary: 'trains a reward model on preference pairs',
  schema: rwSchema,
  examples: [
    'real rw experiment_name=my-rw model.path=./sft-model dataset.train_path=pairs.jsonl dataset.train_bs_n_seqs=64',
  ],
  run: async (config, context) => {
    await runRw(config, context);
  },
});
