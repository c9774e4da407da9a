/** `real sft`: supervised fine-tuning of one model on prompts and answers. */
import { sftMFCs } from '@realhf/dataflow';

import { openPromptAnswer } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { sftSchema, type SftConfig } from '../options/schemas/sft.js';
import { microbatchesOf, requireOneDevice } from './layout.js';
import { loadModel, roleText } from './load-model.js';
import { withOps, type OpenedOps } from './open-ops.js';
import { runExperiment, type ExperimentResult } from './run-experiment.js';

/** Runs it on an opened device, or opens one. */
export async function runSft(
  config: SftConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  requireOneDevice({ allocation: config.allocation });
  const { tokenizer, limits } = await roleText(config.model, 'model');
  const data = openPromptAnswer(config.dataset, tokenizer, config.seed, limits);
  return withOps(opened, config, async (device) => {
    const loaded = await loadModel(device.ops, {
      role: 'model',
      options: config.model,
      isCritic: false,
      seed: config.seed,
    });
    return runExperiment(
      {
        config,
        mfcs: sftMFCs({
          nSeqs: config.dataset.train_bs_n_seqs,
          ...microbatchesOf(config.allocation),
        }),
        datasetKeys: ['packed_input_ids', 'prompt_mask'],
        nSeqs: config.dataset.train_bs_n_seqs,
        models: [{ loaded: { ...loaded, role: 'default' }, optimizer: config.model.optimizer }],
        tokenizer,
        data: data.train,
        ...(data.valid ? { evalData: data.valid } : {}),
        shown: [
          ['loss', 'trainDefault', 'loss'],
          ['ppl', 'trainDefault', 'ppl'],
        ],
        notes: data.notes,
      },
      context,
    );
  });
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
