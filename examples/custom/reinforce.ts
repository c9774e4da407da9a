/**
 * An algorithm of one's own, with what the packages export: REINFORCE whose baseline is the mean reward of the batch. A
 * loss and an interface (reinforce-interface.ts), a list of three calls, options; no more.
 *
 * real run examples/custom/reinforce.ts experiment_name=… actor.path=… reward.fn=… dataset.path=…
 */
import { generationSchema, modelName, type MFCDef } from '@realhf/api';
import * as cli from '@realhf/cli';
import { z } from 'zod';

import './reinforce-interface.js';

const schema = z.object({
  ...cli.commonShape,
  actor: cli.modelSchema.prefault({}).describe('the policy in training'),
  rew: cli.frozenModelSchema.prefault({}).describe('a reward model, if there is one'),
  reward: cli.rewardSchema.prefault({}).describe('rewards from code or a service'),
  dataset: cli.trainPromptOptions.describe('prompts'),
  gen: generationSchema.prefault({ top_p: 1, top_k: 1000 }).describe('generation'),
});

cli.registerExperiment({
  name: 'my-reinforce',
  summary: 'REINFORCE against the mean reward of the batch',
  schema,
  async spec(config) {
    const { actor, dataset, gen, seed } = config;
    const nSeqs = dataset.train_bs_n_seqs;
    const { tokenizer, limits } = await cli.roleText(actor, 'actor');
    const policy = {
      nSeqs,
      model: modelName('actor'),
      interfaceImpl: { type_: 'my_reinforce', args: gen },
    };
    const answers = ['packed_input_ids', 'prompt_mask'];
    const mfcs: MFCDef[] = [
      {
        ...policy,
        name: 'actor_gen',
        interfaceType: 'generate',
        inputKeys: ['packed_prompts'],
        outputKeys: answers,
      },
      {
        ...{ name: 'rew_inf', nSeqs, interfaceType: 'inference', model: modelName('reward') },
        interfaceImpl: cli.externalReward(config, {}) ?? { type_: 'paired_rw', args: {} },
        ...{ inputKeys: answers, outputKeys: ['rewards'] },
      },
      {
        ...policy,
        name: 'actor_train',
        interfaceType: 'train_step',
        inputKeys: [...answers, 'rewards'],
        outputKeys: [],
        logReturnValue: true,
      },
    ];
    return {
      ...{ config, mfcs, nSeqs, tokenizer, datasetKeys: ['packed_prompts'] },
      roles: [
        {
          role: 'actor',
          key: 'actor',
          options: actor,
          isCritic: false,
          seed,
          optimizer: actor.optimizer,
        },
        cli.rewardRole(config),
      ],
      // Layouts by hand would be options of each call: cli.mfcSchema.
      calls: {},
      workload: { promptTokens: dataset.max_prompt_len, newTokens: gen.max_new_tokens },
      openData: () =>
        cli.openPrompts(dataset, tokenizer, seed, { ...limits, newTokens: gen.max_new_tokens }),
      shown: [['reward', 'actor_train', 'task_reward']],
    };
  },
});
