/**
 * From the options `reward.*` to the interface `external_reward` of the call rew_inf, and back from its arguments to an
 * interface, in whatever process that is.
 */
import type { Registered } from '@realhf/api';
import { ExternalRewardInterface, PairedRewardInterface } from '@realhf/model';
import { z } from 'zod';

import type { RoleSpec } from '../experiments/spec.js';
import type { TypeOptions } from '../data/dataset-types.js';
import type { PromptOptions } from '../options/schemas/dataset.js';
import type { FrozenModelOptions } from '../options/schemas/model.js';
import { userFile } from '../user-code/load.js';
import { functionReward } from './function-reward.js';
import { listOf, usesRewardModel, type RewardOptions } from './options.js';
import { datasetPlace, recordsOf } from './record-lookup.js';
import { urlReward } from './url-reward.js';

const argsSchema = z.object({
  files: z.array(z.string()),
  urls: z.array(z.string()),
  /** Of files, urls and the model, if there is one. */
  weights: z.array(z.number()),
  /** Arguments of `paired_rw`; null: no model. */
  model: z.record(z.string(), z.unknown()).nullable(),
  dataset: datasetPlace,
  timeoutMs: z.number(),
  retries: z.number(),
  threads: z.number(),
});

interface RewardConfig {
  readonly reward: RewardOptions;
  readonly rew: FrozenModelOptions;
  readonly dataset: Pick<PromptOptions, 'path' | 'fields'> & Partial<TypeOptions>;
}
type RoleConfig = Pick<RewardConfig, 'reward' | 'rew'> & {
  readonly actor: FrozenModelOptions;
  readonly seed: number;
};

/** Undefined: rewards are a trained model's alone. `model`: arguments of `paired_rw`. Throws ConfigError on a file that is not there. */
export function externalReward(
  config: RewardConfig,
  model: Readonly<Record<string, unknown>>,
): Registered | undefined {
  const { reward, dataset } = config;
  const files = listOf(reward.fn).map((f) => userFile(f, 'reward.fn'));
  const urls = [...listOf(reward.url)];
  const n = files.length + urls.length;
  if (n === 0) return undefined;
  const withModel = usesRewardModel(config);
  const args: z.input<typeof argsSchema> = {
    files,
    urls,
    weights: reward.weights ?? Array<number>(n + (withModel ? 1 : 0)).fill(1),
    model: withModel ? { ...model, enable_save: false } : null,
    dataset: datasetPlace.parse(dataset),
    timeoutMs: reward.timeout_s * 1000,
    retries: reward.retries,
    threads: reward.threads,
  };
  return { type_: 'external_reward', args };
}

/** The role of rew_inf: a trained model, or none. */
export function rewardRole(config: RoleConfig): RoleSpec {
  const { actor, rew, seed } = config;
  const model = usesRewardModel(config);
  // Another seed than the actor's: from scratch they should not share weights.
  const common = { role: 'reward', key: 'rew', isCritic: model, seed: seed + 1 };
  return model ? { ...common, options: rew } : { ...common, options: actor, external: true };
}

/** The factory of `external_reward`. */
export function makeExternalReward(
  args: Readonly<Record<string, unknown>>,
): ExternalRewardInterface {
  const { files, urls, weights, model, dataset, ...rest } = argsSchema.parse(args);
  return new ExternalRewardInterface({
    sources: [
      ...files.map((file, i) => functionReward({ file, weight: weights[i]!, ...rest })),
      ...urls.map((url, i) => urlReward({ url, weight: weights[files.length + i]!, ...rest })),
    ],
    records: recordsOf(dataset),
    ...(model
      ? { trained: { interface: new PairedRewardInterface(model), weight: weights.at(-1)! } }
      : {}),
  });
}
