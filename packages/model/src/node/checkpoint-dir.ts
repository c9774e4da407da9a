/**
 * Hugging Face folders: config.json, weights and tokenizer files, read and written so that transformers opens what
 * we write and the other way round (reference: M15–M17). Saving is atomic (replace-dir.ts).
 */
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, type ModelConfig } from '@realhf/api';
import { z } from 'zod';
import { configFromHf, configToHf } from '../hf/families.js';
import {
  streamWeightsFromHf,
  weightsFromHf,
  type StreamWeightsOptions,
  type WeightsFromHfOptions,
} from '../hf/weights.js';
import { replaceDir } from './replace-dir.js';
import { exists, openWeights, readJson, writeWeights, type SaveDType } from './weights-dir.js';

/** Files beside the weights that a saved model takes along where its source has them. */
export const companionFiles = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
  'generation_config.json',
] as const;

/** How a folder is opened. */
export interface CheckpointOptions {
  /** Overrides what `architectures` says: open an actor's folder as a critic, or a critic saved as a causal model. */
  readonly isCritic?: boolean;
}

/** The config alone. Throws CheckpointError if config.json can't be read, ConfigError if it is not understood. */
export async function readCheckpointConfig(
  dir: string,
  { isCritic }: CheckpointOptions = {},
): Promise<ModelConfig> {
  const path = join(dir, 'config.json');
  const json = await readJson(path);
  let config: ModelConfig;
  try {
    config = configFromHf(json);
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    const issue = cause instanceof z.ZodError ? cause.issues[0] : undefined;
    const message = issue ? `: ${issue.path.join('.')} ${issue.message}` : cause.message;
    // Which of several models is at fault: the family's messages know no folder.
    throw new ConfigError(`${path}${message.replace(/^config\.json/, '')}`, { cause });
  }
  return isCritic === undefined ? config : { ...config, isCritic };
}

/** An open checkpoint; close it. */
export interface Checkpoint {
  readonly config: ModelConfig;
  /** Streams full parameters, checked first. Throws CheckpointError. */
  load(
    onParam: (param: string, full: Float32Array) => void | Promise<void>,
    options?: WeightsFromHfOptions,
  ): Promise<void>;
  /** Streams pieces of parameters, checked first: `values` are the elements from `begin` on. Throws CheckpointError. */
  stream(
    onPart: (param: string, begin: number, values: Float32Array) => void | Promise<void>,
    options?: StreamWeightsOptions,
  ): Promise<void>;
  close(): Promise<void>;
}

/** Opens a folder: config and the headers of its weights. Throws CheckpointError or ConfigError. */
export async function readCheckpointDir(
  dir: string,
  options: CheckpointOptions = {},
): Promise<Checkpoint> {
  const config = await readCheckpointConfig(dir, options);
  const weights = await openWeights(dir);
  return {
    config,
    load: (onParam, loadOptions) => weightsFromHf(config, weights, onParam, loadOptions),
    stream: (onPart, streamOptions) => streamWeightsFromHf(config, weights, onPart, streamOptions),
    close: () => weights.close(),
  };
}

/** What is written, and how. */
export interface WriteCheckpointOptions {
  readonly config: ModelConfig;
  /** A full parameter by name; each is asked for once, in the order of the flat space. */
  readonly getParam: (param: string) => Float32Array | Promise<Float32Array>;
  /** Folder whose tokenizer and generation files are copied, those that it has. */
  readonly companionsFrom?: string;
  /** Bytes; default 5 GB. */
  readonly maxShardBytes?: number;
  /** Default f32. f16 and bf16 take half the room and round to nearest. */
  readonly dtype?: SaveDType;
  /** Replace an existing folder; otherwise that is an error. */
  readonly overwrite?: boolean;
}

/** Writes a folder that transformers opens. Throws CheckpointError if it exists, ConfigError if the family can't store the config. */
export async function writeCheckpointDir(
  dir: string,
  {
    config,
    getParam,
    companionsFrom,
    maxShardBytes = 5e9,
    dtype = 'f32',
    overwrite = false,
  }: WriteCheckpointOptions,
): Promise<void> {
  const torch = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' }[dtype];
  const json = { ...configToHf(config), dtype: torch, torch_dtype: torch };
  await replaceDir(
    dir,
    async (temporary) => {
      await writeFile(join(temporary, 'config.json'), JSON.stringify(json, null, 2) + '\n');
      if (companionsFrom !== undefined)
        for (const name of companionFiles) {
          const from = join(companionsFrom, name);
          if (await exists(from)) await copyFile(from, join(temporary, name));
        }
      await writeWeights(temporary, config, getParam, { maxShardBytes, dtype });
    },
    { overwrite },
  );
}
