/** `real ppo`: RLHF with an actor, a critic, a reference and a reward model, as six model function calls. */
import { ppoMFCNames, ppoMFCs } from '@realhf/dataflow';

import { openPrompts } from '../data/from-options.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { ppoSchema, type PpoConfig } from '../options/schemas/ppo.js';
import { microbatchesByName, requireOneDevice, requireOneVocabulary } from './layout.js';
import { loadModel, roleText, type LoadedModel } from './load-model.js';
import { recordsMask } from './logits-mask.js';
import { withOps, type OpenedOps } from './open-ops.js';
import { runExperiment, type ExperimentResult } from './run-experiment.js';

export async function runPpo(
  config: PpoConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  const calls = Object.fromEntries(ppoMFCNames.map((name) => [name, config[name]]));
  requireOneDevice(calls);
  const { tokenizer, limits } = await roleText(config.actor, 'actor');
  const data = openPrompts(config.dataset, tokenizer, config.seed, {
    ...limits,
    newTokens: config.ppo.gen.max_new_tokens,
  });
  return withOps(opened, config, async (device) => {
    const load = async (
      key: 'actor' | 'critic' | 'ref' | 'rew',
      role: string,
      seed: number,
    ): Promise<LoadedModel> => ({
      ...(await loadModel(device.ops, {
        role: key,
        options: config[key],
        isCritic: key === 'critic' || key === 'rew',
        seed,
      })),
      role,
    });
    const actor = await load('actor', 'actor', config.seed);
    const critic = await load('critic', 'critic', config.seed + 1);
    const ref = await load('ref', 'ref', config.seed);
    const reward = await load('rew', 'reward', config.seed + 1);
    requireOneVocabulary(actor, [critic, ref, reward]);
    const logitsMask = recordsMask(config.ppo.gen, actor.model.config.vocabSize);
    return runExperiment(
      {
        config,
        mfcs: ppoMFCs({
          nSeqs: config.dataset.train_bs_n_seqs,
          logitsMask,
          actorArgs: { ...config.ppo, logits_mask: logitsMask },
          criticArgs: config.ppo,
          rewardArgs: {
            output_scaling: config.ppo.reward_output_scaling,
            output_bias: config.ppo.reward_output_bias,
          },
          nMbs: microbatchesByName(ppoMFCNames, config),
        }),
        datasetKeys: ['packed_prompts'],
        nSeqs: config.dataset.train_bs_n_seqs,
        models: [
          { loaded: actor, optimizer: config.actor.optimizer },
          { loaded: critic, optimizer: config.critic.optimizer },
          { loaded: ref },
          { loaded: reward },
        ],
        tokenizer,
        data: data.train,
        shown: [
          ['reward', 'actor_train', 'task_reward'],
          ['kl', 'actor_train', 'kl'],
          ['len', 'actor_train', 'avg_seq_len'],
        ],
        notes: data.notes,
      },
      context,
    );
  });
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
