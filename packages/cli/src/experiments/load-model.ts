/** From the options of a role to a model on the device. */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import {
  CheckpointError,
  ConfigError,
  type ModelConfig,
  type Ops,
  type ParallelGroups,
  type Tokenizer,
} from '@realhf/api';
import { hfFamilies, ReaLModel } from '@realhf/model';
import {
  loadTokenizer,
  readCheckpointConfig,
  readCheckpointDir,
  writeCheckpointDir,
  type SaveDType,
} from '@realhf/model/node';

import type { ModelLimits } from '../data/limits.js';
import type { FrozenModelOptions } from '../options/schemas/model.js';

export interface LoadedModel {
  readonly role: string;
  readonly model: ReaLModel;
  /** Where its tokenizer files are, to be copied when it is saved. */
  readonly tokenizerDir: string;
}

export interface RoleOptions {
  /** Key in the config, for messages: actor, critic, … */
  readonly role: string;
  readonly options: FrozenModelOptions & { readonly gradient_checkpointing?: boolean };
  readonly isCritic: boolean;
  readonly seed: number;
}

/** Directory that describes the model: `path`, or where `config` is. */
async function sourceDir(options: FrozenModelOptions, role: string): Promise<string> {
  const path = options.init_from_scratch ? (options.config ?? options.path) : options.path;
  if (path === null)
    throw new ConfigError(`${role}.path is missing; set it to a checkpoint directory`);
  try {
    return (await stat(path)).isDirectory() ? path : dirname(path);
  } catch (cause) {
    throw new CheckpointError(`${role}: there is no ${path}; check ${role}.path`, { cause });
  }
}

/** The tokenizer of a role, and what its model can take; reads no weights. */
export async function roleText(
  options: FrozenModelOptions,
  role: string,
): Promise<{ tokenizer: Tokenizer; limits: ModelLimits }> {
  const dir = await sourceDir(options, role);
  const config = await readCheckpointConfig(dir);
  const limits = { context: config.maxPositions, vocabSize: config.vocabSize };
  const tokenizer = loadTokenizer(dir);
  if (tokenizer.eosTokenId !== null && tokenizer.eosTokenId >= config.vocabSize)
    throw new ConfigError(
      `${dir}: the tokenizer's EOS token is ${tokenizer.eosTokenId}, the model's vocabulary has ${config.vocabSize}; tokenizer.json and config.json are of different models`,
    );
  return { tokenizer, limits };
}

/** Sizes of a role's model, from its config.json. */
export async function roleConfig(
  options: FrozenModelOptions,
  role: string,
  isCritic: boolean,
): Promise<ModelConfig> {
  return readCheckpointConfig(await sourceDir(options, role), { isCritic });
}

/** Loads or initialises a role's weights; every role and seed gives the same values in every layout. */
export async function loadModel(
  ops: Ops,
  { role, options, isCritic, seed }: RoleOptions,
  groups?: ParallelGroups,
): Promise<LoadedModel> {
  const dir = await sourceDir(options, role);
  const make = (config: ModelConfig) => {
    checkFamily(config, options, role);
    return new ReaLModel({
      ops,
      config,
      ...(groups ? { groups } : {}),
      gradientCheckpointing: options.gradient_checkpointing ?? false,
    });
  };
  if (options.init_from_scratch) {
    const model = make(await readCheckpointConfig(dir, { isCritic }));
    model.init(seed);
    return { role, model, tokenizerDir: dir };
  }
  const checkpoint = await readCheckpointDir(dir, { isCritic });
  try {
    const model = make(checkpoint.config);
    const fresh = isCritic && options.init_critic_from_actor;
    if (fresh) model.init(seed, (name) => name.endsWith('.head.weight'));
    await checkpoint.stream(
      async (name, begin, values) => {
        model.loadRange(name, begin, values);
        // Waits for the upload: staging memory would otherwise hold the whole checkpoint.
        await ops.sync();
      },
      { initCriticFromActor: fresh, ranges: (name) => model.heldRanges(name) },
    );
    return { role, model, tokenizerDir: dir };
  } finally {
    await checkpoint.close();
  }
}

/** A role's model without memory for its weights, which a reallocation brings. */
export async function emptyModel(
  ops: Ops,
  { role, options, isCritic }: RoleOptions,
  groups: ParallelGroups,
): Promise<LoadedModel> {
  const dir = await sourceDir(options, role);
  const config = await readCheckpointConfig(dir, { isCritic });
  return {
    role,
    model: new ReaLModel({ ops, config, groups, allocate: false }),
    tokenizerDir: dir,
  };
}

function checkFamily(config: ModelConfig, options: FrozenModelOptions, role: string): void {
  const wanted = options.type._class;
  // By the family and not by its name: codellama is llama's.
  if (wanted !== null && hfFamilies.get(wanted) !== hfFamilies.get(config.family)) {
    throw new ConfigError(
      `${role}.type._class is '${wanted}', its config.json says '${config.family}'; leave it out or use another checkpoint`,
    );
  }
}

/** Writes a model as a Hugging Face directory with its tokenizer. */
export async function saveModel(
  { model, tokenizerDir }: LoadedModel,
  dir: string,
  dtype: SaveDType = 'f32',
): Promise<void> {
  await writeCheckpointDir(dir, {
    config: model.config,
    getParam: (name) => model.dump(name),
    companionsFrom: tokenizerDir,
    dtype,
    overwrite: true,
  });
}
