/** `real sft`: supervised fine-tuning of one model on prompts and answers. */
import { sftMFCs } from '@realhf/dataflow';

import { openPromptAnswer } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { sftSchema, type SftConfig } from '../options/schemas/sft.js';
import { microbatchesOf } from './layout.js';
import { roleText } from './load-model.js';
import type { OpenedOps } from './open-ops.js';
import type { ExperimentResult } from './run-steps.js';
import { runSpec } from './run-spec.js';
import type { ExperimentSpec } from './spec.js';

/** One train_step on role `default`. */
export async function sftSpec(config: SftConfig): Promise<ExperimentSpec> {
  const { dataset, model, seed } = config;
  const { tokenizer, limits } = await roleText(model, 'model');
  return {
    config,
    mfcs: sftMFCs({ nSeqs: dataset.train_bs_n_seqs, ...microbatchesOf(config.allocation) }),
    datasetKeys: ['packed_input_ids', 'prompt_mask'],
    nSeqs: dataset.train_bs_n_seqs,
    roles: [
      {
        role: 'default',
        key: 'model',
        options: model,
        isCritic: false,
        seed,
        optimizer: model.optimizer,
      },
    ],
    calls: { trainDefault: config.allocation },
    workload: { promptTokens: dataset.max_seqlen, newTokens: 0 },
    tokenizer,
    openData: () => openPromptAnswer(dataset, tokenizer, seed, limits),
    shown: [
      ['loss', 'trainDefault', 'loss'],
      ['ppl', 'trainDefault', 'ppl'],
    ],
  };
}

/** Runs it on an opened device, or opens what it needs. */
export async function runSft(
  config: SftConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('sft', await sftSpec(config), context, opened);
}

export const sftCommand = defineCommand({
  name: 'sft',
  summary: 'supervised fine-tuning on prompts and answers',
  schema: sftSchema,
  examples: [
    'real sft experiment_name=my-sft model.path=./gpt2 dataset.train_path=train.jsonl dataset.train_bs_n_seqs=64',
  ],
  run: async (config, context) => {
    await runSft(config, context);
  },
});
