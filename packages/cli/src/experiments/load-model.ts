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
import {
  hfFamilies,
  initParams,
  mergedParams,
  paramSpecs,
  ReaLModel,
  type LoraConfig,
} from '@realhf/model';
import {
  loadTokenizer,
  readCheckpointConfig,
  readCheckpointDir,
  readPeftDir,
  writeCheckpointDir,
  writePeftDir,
  type SaveDType,
} from '@realhf/model/node';

import type { ModelLimits } from '../data/limits.js';
import { hasLora } from '../options/schemas/lora.js';
import type { AnyModelOptions, FrozenModelOptions } from '../options/schemas/model.js';

export interface LoadedModel {
  readonly role: string;
  readonly model: ReaLModel;
  /** Where its tokenizer files are, to be copied when it is saved. */
  readonly tokenizerDir: string;
}

/** What a role's adapter is, with its values where it goes on from a folder. */
interface AdapterSource {
  readonly lora: LoraConfig;
  readonly params?: ReadonlyMap<string, Float32Array>;
}

export interface RoleOptions {
  /** Key in the config, for messages: actor, critic, … */
  readonly role: string;
  readonly options: AnyModelOptions;
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

/**
 * Loads or initialises a role's weights; every role and seed gives the same values in every layout. A model with an
 * adapter has them in `model.adapter.base`, which the caller frees too.
 */
export async function loadModel(
  ops: Ops,
  from: RoleOptions,
  groups?: ParallelGroups,
): Promise<LoadedModel> {
  const loaded = await loadWeights(ops, from, groups);
  return hasLora(from.options.lora) ? addAdapter(ops, from, loaded, true) : loaded;
}

/** The adapter of a role, by its options. Throws CheckpointError or ConfigError if it does not fit the model. */
export async function adapterOf(
  { role, options }: Pick<RoleOptions, 'role' | 'options'>,
  config: ModelConfig,
): Promise<AdapterSource> {
  const { lora } = options;
  if (lora?.path) return readPeftDir(lora.path, config);
  if (!lora?.rank) throw new ConfigError(`${role}.lora has neither a rank nor a path`);
  const { rank, alpha, targets, rslora } = lora;
  return { lora: { rank, alpha, targets, rslora } };
}

async function addAdapter(
  ops: Ops,
  from: RoleOptions,
  { role, model: base, tokenizerDir }: LoadedModel,
  allocate: boolean,
): Promise<LoadedModel> {
  const { config, groups } = base;
  const { lora, params } = await adapterOf(from, config);
  const model = new ReaLModel({
    ops,
    config,
    groups,
    gradientCheckpointing: from.options.gradient_checkpointing ?? false,
    allocate,
    adapter: { base, lora },
  });
  if (!allocate) return { role, model, tokenizerDir };
  if (params) for (const [name, values] of params) model.load(name, values);
  else {
    model.init(from.seed);
    // A critic's head goes on from where it is.
    const head = `${config.nLayers + 1}.head.weight`;
    if (config.isCritic) model.load(head, await base.dump(head));
  }
  return { role, model, tokenizerDir };
}

async function loadWeights(
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

/** A role's model without memory for its weights (of one with an adapter: for the adapter), which a reallocation brings. */
export async function emptyModel(
  ops: Ops,
  from: RoleOptions,
  groups: ParallelGroups,
): Promise<LoadedModel> {
  const { role, options, isCritic } = from;
  if (hasLora(options.lora))
    return addAdapter(ops, from, await loadWeights(ops, from, groups), false);
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

/**
 * Whole weights of a role by name, read again from where they came: no rank has all of them. Each may be asked for once,
 * and all of them are on the host until then.
 */
export async function originalParams({
  role,
  options,
  isCritic,
  seed,
}: RoleOptions): Promise<(name: string) => Promise<Float32Array>> {
  const dir = await sourceDir(options, role);
  const config = await readCheckpointConfig(dir, { isCritic });
  const params = new Map<string, Float32Array>();
  if (options.init_from_scratch) {
    const values = initParams(config, seed);
    for (const spec of paramSpecs(config)) params.set(spec.name, values(spec));
  } else {
    const checkpoint = await readCheckpointDir(dir, { isCritic });
    try {
      await checkpoint.load(
        (name, full) => {
          params.set(name, full);
        },
        { initCriticFromActor: isCritic && options.init_critic_from_actor },
      );
    } finally {
      await checkpoint.close();
    }
  }
  return (name) => {
    const values = params.get(name);
    params.delete(name);
    return values
      ? Promise.resolve(values)
      : Promise.reject(new CheckpointError(`${dir} has no parameter '${name}'`));
  };
}

export interface SaveOptions {
  readonly dtype: SaveDType;
  /** How a model with an adapter is saved. */
  readonly lora: 'merged' | 'adapter';
}

/** Writes a model as a Hugging Face directory with its tokenizer, or its adapter as a PEFT directory. */
export async function saveModel(
  { model, tokenizerDir }: LoadedModel,
  dir: string,
  options: SaveOptions,
): Promise<void> {
  const { config, adapter } = model;
  await saveParams(
    {
      config,
      lora: adapter?.lora,
      tokenizerDir,
      getParam: (name) => model.dump(name),
      baseParams: () => Promise.resolve((name) => adapter!.base.dump(name)),
    },
    dir,
    options,
  );
}

/** Whole parameters and where they belong. */
interface SavedModel {
  readonly config: ModelConfig;
  /** Of an adapter: then getParam gives its parameters. */
  readonly lora: LoraConfig | undefined;
  readonly tokenizerDir: string;
  readonly getParam: (name: string) => Promise<Float32Array>;
  /** The weights that an adapter is merged into. */
  readonly baseParams: () => Promise<(name: string) => Promise<Float32Array>>;
}

/** As saveModel, from parameters that come from elsewhere. */
export async function saveParams(
  { config, lora, tokenizerDir, getParam, baseParams }: SavedModel,
  dir: string,
  options: SaveOptions,
): Promise<void> {
  if (lora && options.lora === 'adapter') {
    await writePeftDir(dir, { config, lora, getParam, base: tokenizerDir });
    return;
  }
  await writeCheckpointDir(dir, {
    config,
    getParam: lora ? mergedParams(config, lora, await baseParams(), getParam) : getParam,
    companionsFrom: tokenizerDir,
    dtype: options.dtype,
    overwrite: true,
  });
}
