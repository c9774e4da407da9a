/** `real dpo`: preferences learned without a reward model, against a frozen reference. */
import { dpoMFCNames, dpoMFCs } from '@realhf/dataflow';

import { openRwPairs } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { dpoSchema, type DpoConfig } from '../options/schemas/dpo.js';
import { microbatchesByName, requireOneDevice, requireOneVocabulary } from './layout.js';
import { loadModel, roleText } from './load-model.js';
import { withOps, type OpenedOps } from './open-ops.js';
import { runExperiment, type ExperimentResult } from './run-experiment.js';

export async function runDpo(
  config: DpoConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  const calls = { ref_inf: config.ref_inf, actor_train: config.actor_train };
  requireOneDevice(calls);
  const { beta, loss_type, label_smoothing, seed } = config;
  const { tokenizer, limits } = await roleText(config.actor, 'actor');
  const pairs = { ...config.dataset, valid_path: null, valid_bs_n_seqs: 1 };
  const data = openRwPairs(pairs, tokenizer, seed, limits);
  return withOps(opened, config, async (device) => {
    const load = (role: 'actor' | 'ref') =>
      loadModel(device.ops, { role, options: config[role], isCritic: false, seed });
    const actor = await load('actor');
    const ref = await load('ref');
    requireOneVocabulary(actor, [ref]);
    return runExperiment(
      {
        config,
        mfcs: dpoMFCs({
          nSeqs: config.dataset.train_bs_n_seqs,
          interfaceArgs: { beta, loss_type, label_smoothing },
          nMbs: microbatchesByName(dpoMFCNames, calls),
        }),
        datasetKeys: ['packed_input_ids', 'prompt_lens'],
        nSeqs: config.dataset.train_bs_n_seqs,
        models: [{ loaded: actor, optimizer: config.actor.optimizer }, { loaded: ref }],
        tokenizer,
        data: data.train,
        shown: [
          ['loss', 'actor_train', 'loss'],
          ['acc', 'actor_train', 'acc'],
          ['margin', 'actor_train', 'margin'],
        ],
        notes: data.notes,
      },
      context,
    );
  });
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
