/** `real rw`: a reward model from preference pairs. */
import { rwMFCs } from '@realhf/dataflow';

import { openRwPairs } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { rwSchema, type RwConfig } from '../options/schemas/rw.js';
import { microbatchesOf, requireOneDevice } from './layout.js';
import { loadModel, roleText } from './load-model.js';
import { withOps, type OpenedOps } from './open-ops.js';
import { runExperiment, type ExperimentResult } from './run-experiment.js';

export async function runRw(
  config: RwConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  requireOneDevice({ allocation: config.allocation });
  const { tokenizer, limits } = await roleText(config.model, 'model');
  const data = openRwPairs(config.dataset, tokenizer, config.seed, limits);
  return withOps(opened, config, async (device) => {
    const loaded = await loadModel(device.ops, {
      role: 'model',
      options: config.model,
      isCritic: true,
      seed: config.seed,
    });
    return runExperiment(
      {
        config,
        mfcs: rwMFCs({
          nSeqs: config.dataset.train_bs_n_seqs,
          ...microbatchesOf(config.allocation),
        }),
        datasetKeys: ['packed_input_ids', 'prompt_lens'],
        nSeqs: config.dataset.train_bs_n_seqs,
        models: [{ loaded: { ...loaded, role: 'default' }, optimizer: config.model.optimizer }],
        tokenizer,
        data: data.train,
        ...(data.valid ? { evalData: data.valid } : {}),
        shown: [
          ['loss', 'rwTrain', 'loss'],
          ['acc', 'rwTrain', 'acc'],
        ],
        notes: data.notes,
      },
      context,
    );
  });
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
