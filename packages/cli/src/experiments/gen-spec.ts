/** `real gen` as workers know it: one model, one call, no dataset of their own. */
import { ConfigError, modelName } from '@realhf/api';

import { expCtrlSchema } from '../options/schemas/common.js';
import type { GenConfig } from '../options/schemas/gen.js';
import { roleText } from './load-model.js';
import type { ExperimentSpec } from './spec.js';

/** The role is `model`. */
export async function genSpec(config: GenConfig): Promise<ExperimentSpec> {
  const { dataset, gen, model, allocation, seed } = config;
  const { tokenizer } = await roleText(model, 'model');
  const nSeqs = dataset.train_bs_n_seqs;
  return {
    config: { ...config, exp_ctrl: expCtrlSchema.parse({}) },
    mfcs: [
      {
        name: 'gen',
        nSeqs,
        interfaceType: 'generate',
        // Never made: the engine itself is asked.
        interfaceImpl: { type_: 'ppo_actor', args: {} },
        model: modelName('model'),
        inputKeys: ['packed_prompts'],
        outputKeys: ['packed_input_ids'],
      },
    ],
    datasetKeys: ['packed_prompts'],
    nSeqs,
    roles: [{ role: 'model', key: 'model', options: model, isCritic: false, seed }],
    calls: { gen: allocation },
    workload: { promptTokens: dataset.max_prompt_len, newTokens: gen.max_new_tokens },
    tokenizer,
    openData: () =>
      Promise.reject(new ConfigError('the master alone reads the prompts of real gen')),
    shown: [],
  };
}
