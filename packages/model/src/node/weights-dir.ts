/**
 * The weights of a Hugging Face folder: `model.safetensors`, or shards listed in `model.safetensors.index.json`.
 * Opening checks every header and that index and shards agree.
 */
import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError, type ModelConfig } from '@realhf/api';
import { hfFamilies } from '../hf/families.js';
import { tensorBytes } from '../hf/safetensors-format.js';
import { weightsToHf, type HfTensor, type TensorSource } from '../hf/weights.js';
import { SafetensorsFile, streamSafetensors } from './safetensors.js';

const single = 'model.safetensors';
const index = 'model.safetensors.index.json';

/** Tensors of a folder; close it. */
export interface OpenWeights extends TensorSource {
  close(): Promise<void>;
}

/** Throws CheckpointError naming the file and tensor. */
export async function openWeights(dir: string): Promise<OpenWeights> {
  const files = new Map<string, SafetensorsFile>();
  const close = async () => {
    for (const f of files.values()) await f.close();
  };
  const where = new Map<string, SafetensorsFile>();
  try {
    if (await exists(join(dir, single))) {
      const file = await SafetensorsFile.open(join(dir, single));
      files.set(single, file);
      for (const name of file.names()) where.set(name, file);
    } else if (await exists(join(dir, index))) {
      const map = await readIndex(join(dir, index));
      for (const shard of new Set(map.values()))
        files.set(shard, await SafetensorsFile.open(join(dir, shard)));
      for (const [name, shard] of map) {
        const file = files.get(shard)!;
        if (!file.header.tensors.has(name))
          throw new CheckpointError(
            `${join(dir, index)} places tensor '${name}' in ${shard}, which lacks it; copy the checkpoint again`,
          );
        where.set(name, file);
      }
      for (const [shard, file] of files)
        for (const name of file.names())
          if (where.get(name) !== file)
            throw new CheckpointError(
              `${join(dir, shard)} has tensor '${name}', which ${index} does not place there; copy the checkpoint again`,
            );
    } else {
      throw new CheckpointError(
        `${dir} has neither ${single} nor ${index}; if its weights are .bin files save them as safetensors`,
      );
    }
  } catch (e) {
    await close();
    throw e;
  }
  const fileOf = (name: string) => {
    const file = where.get(name);
    if (!file) throw new CheckpointError(`${dir} has no tensor '${name}'`);
    return file;
  };
  return {
    name: dir,
    names: () => [...where.keys()],
    shape: (name) => where.get(name)?.header.tensors.get(name)?.shape,
    read: async (name) => fileOf(name).readFloat(name),
    readRange: async (name, begin, end) => fileOf(name).readFloat(name, begin, end),
    close,
  };
}

/** Tensor → shard file, a plain name in the same folder. */
async function readIndex(path: string): Promise<Map<string, string>> {
  const json = await readJson(path);
  const map = json.weight_map;
  if (typeof map !== 'object' || map === null)
    throw new CheckpointError(`${path} has no weight_map; it is damaged, copy it again`);
  return new Map(
    Object.entries(map).map(([name, shard]: [string, unknown]) => {
      if (typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard))
        throw new CheckpointError(
          `${path} places tensor '${name}' in ${JSON.stringify(shard)}, not a .safetensors file of its folder`,
        );
      return [name, shard];
    }),
  );
}

/** Type of saved weights; our own are f32, other types are rounded to nearest. */
export type SaveDType = 'f32' | 'f16' | 'bf16';
const hfDTypes = { f32: 'F32', f16: 'F16', bf16: 'BF16' } as const;

/**
 * Writes the weights of a family's checkpoint into an existing folder, in one file or in shards of at most
 * `maxShardBytes` (a larger tensor has a shard of its own). `getParam` gives full parameters, each asked for once.
 */
export async function writeWeights(
  dir: string,
  config: ModelConfig,
  getParam: (param: string) => Float32Array | Promise<Float32Array>,
  { maxShardBytes, dtype }: { maxShardBytes: number; dtype: SaveDType },
): Promise<void> {
  const bytes = (shape: readonly number[]) =>
    tensorBytes(
      hfDTypes[dtype],
      shape.reduce((a, b) => a * b, 1),
    );
  const tensors = hfFamilies
    .get(config.family)
    .tensors(config)
    .map((m) => ({ name: m.hf, dtype: hfDTypes[dtype], shape: m.hfShape }));
  const shards: (typeof tensors)[] = [];
  let used = Infinity;
  for (const t of tensors) {
    if (used + bytes(t.shape) > maxShardBytes) {
      shards.push([]);
      used = 0;
    }
    shards.at(-1)!.push(t);
    used += bytes(t.shape);
  }

  const stream: AsyncGenerator<HfTensor, void> = weightsToHf(config, getParam);
  const next = async () => {
    const step = await stream.next();
    if (step.done)
      throw new CheckpointError(`${dir}: the family lists more tensors than it yields`);
    return step.value.data;
  };
  if (shards.length === 1) {
    await streamSafetensors(join(dir, single), shards[0]!, next);
    return;
  }
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const pad = (n: number) => String(n).padStart(5, '0');
    const file = `model-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`;
    await streamSafetensors(join(dir, file), shard, next);
    for (const t of shard) weightMap[t.name] = file;
  }
  const total_size = tensors.reduce((n, t) => n + bytes(t.shape), 0);
  await writeFile(
    join(dir, index),
    JSON.stringify({ metadata: { total_size }, weight_map: weightMap }, null, 2) + '\n',
  );
}

/** Parses a JSON object. Throws CheckpointError naming the file. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new CheckpointError(`cannot read ${path} as JSON; is the checkpoint complete?`, {
      cause,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CheckpointError(`${path} is not a JSON object; is the checkpoint complete?`);
  return value as Record<string, unknown>;
}

/** Whether a path exists. */
export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
