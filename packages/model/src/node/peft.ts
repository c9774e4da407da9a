/**
 * Adapters as PEFT's folders: adapter_config.json and adapter_model.safetensors. Its tensors are
 * `base_model.model.<weight>.lora_A.weight` [r, in] and `….lora_B.weight` [out, r]; a classifier's head is a module to save.
 * What a folder asks for that would be lost is refused: DoRA, biases, ranks by layer, patterns of modules.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { CheckpointError, ConfigError, type ModelConfig } from '@realhf/api';
import { z } from 'zod';

import { hfFamilies } from '../hf/families.js';
import { loraSites, loraTargets, type LoraConfig, type LoraTarget } from '../lora/config.js';
import { loraSpecs } from '../lora/specs.js';
import { replaceDir } from './replace-dir.js';
import { SafetensorsFile, writeSafetensors, type SafetensorsTensor } from './safetensors.js';
import { readJson } from './weights-dir.js';

const configFile = 'adapter_config.json';
const weightsFile = 'adapter_model.safetensors';

const empty = z.union([z.null(), z.record(z.string(), z.unknown()).refine(isEmpty)]);
const peftSchema = z.object({
  peft_type: z.literal('LORA'),
  r: z.number().int().positive(),
  lora_alpha: z.number().positive(),
  target_modules: z.array(z.enum(loraTargets)).min(1),
  use_rslora: z.boolean().default(false),
  use_dora: z.literal(false).default(false),
  lora_bias: z.literal(false).default(false),
  bias: z.literal('none').default('none'),
  fan_in_fan_out: z.literal(false).default(false),
  rank_pattern: empty.default(null),
  alpha_pattern: empty.default(null),
  layers_to_transform: z.null().default(null),
  // Names that PEFT lists for any classifier; tensors that are not ours are refused later.
  modules_to_save: z
    .array(z.enum(['score', 'classifier']))
    .nullable()
    .default(null),
});

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0;
}

/** The shape of a folder's adapter. Throws CheckpointError naming the field. */
export async function readPeftConfig(dir: string): Promise<LoraConfig> {
  const parsed = peftSchema.safeParse(await readJson(join(dir, configFile)));
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw new CheckpointError(
      `${join(dir, configFile)}: ${path.join('.')}: ${message}; LoRA of ${loraTargets.join(', ')} is supported`,
    );
  }
  const { r: rank, lora_alpha: alpha, target_modules, use_rslora: rslora } = parsed.data;
  return { rank, alpha, rslora, targets: loraTargets.filter((t) => target_modules.includes(t)) };
}

/** One target of one layer: its tensors in the file and its rows in the parameters. */
interface PeftWeight {
  readonly a: string;
  readonly b: string;
  /** `3.attn.qkv`. */
  readonly site: string;
  readonly target: LoraTarget;
  /** Which of the site's As, and rows of its B. */
  readonly index: number;
  readonly rows: readonly [number, number];
  readonly columns: number;
}

/** Throws ConfigError for families whose weights have other names. */
function peftWeights(config: ModelConfig, lora: LoraConfig): PeftWeight[] {
  const sites = loraSites(config, lora);
  const byParam = new Map(
    hfFamilies
      .get(config.family)
      .tensors(config)
      .map((t) => [`${t.param}|${t.hf.split('.').at(-2) ?? ''}`, t]),
  );
  const out: PeftWeight[] = [];
  for (let layer = 1; layer <= config.nLayers; layer++)
    for (const { name, columns, parts, adapted } of sites)
      for (const { target } of parts) {
        const index = adapted.indexOf(target);
        if (index < 0) continue;
        const site = `${layer}.${name}`;
        const tensor = byParam.get(`${site}.weight|${target}`);
        if (!tensor)
          throw new ConfigError(
            `a ${config.family} model has no ${target} of its own, so PEFT can't take this adapter; save.lora=merged saves it in the weights`,
          );
        const module = `base_model.model.${tensor.hf.replace(/\.weight$/, '')}`;
        const [a, b] = [`${module}.lora_A.weight`, `${module}.lora_B.weight`];
        out.push({ a, b, site, target, index, rows: tensor.rows, columns });
      }
  return out;
}

const headTensor = 'base_model.model.score.weight';

/** Full parameters of a folder's adapter by name. Throws CheckpointError if the tensors are not those of the config. */
export async function readPeftDir(
  dir: string,
  config: ModelConfig,
): Promise<{ lora: LoraConfig; params: Map<string, Float32Array> }> {
  const lora = await readPeftConfig(dir);
  const { rank } = lora;
  const params = new Map(loraSpecs(config, lora).map((s) => [s.name, new Float32Array(s.size)]));
  const file = await SafetensorsFile.open(join(dir, weightsFile));
  try {
    const rest = new Set(file.names());
    const take = async (name: string, shape: readonly number[]) => {
      const found = file.header.tensors.get(name)?.shape;
      if (found?.join() !== shape.join())
        throw new CheckpointError(
          `${file.path}: tensor '${name}' is ${found ? `[${found.join(', ')}]` : 'not there'}, this model needs [${shape.join(', ')}]`,
        );
      rest.delete(name);
      return file.readFloat(name);
    };
    for (const { a, b, site, index, rows, columns } of peftWeights(config, lora)) {
      const into = (name: string) => params.get(`${site}.${name}`)!;
      into('lora_a').set(await take(a, [rank, columns]), index * rank * columns);
      into('lora_b').set(await take(b, [rows[1] - rows[0], rank]), rows[0] * rank);
    }
    const head = `${config.nLayers + 1}.head.weight`;
    if (config.isCritic) params.get(head)!.set(await take(headTensor, [1, config.hiddenDim]));
    const [strange] = rest;
    if (strange !== undefined)
      throw new CheckpointError(`${file.path} has tensor '${strange}', which is no part of it`);
    return { lora, params };
  } finally {
    await file.close();
  }
}

/** An adapter and what is written of it. */
export interface WritePeftOptions {
  readonly config: ModelConfig;
  readonly lora: LoraConfig;
  /** A full parameter of the adapter by name. */
  readonly getParam: (name: string) => Float32Array | Promise<Float32Array>;
  /** Where the weights are that it belongs to. */
  readonly base: string;
}

/** Writes a folder that peft opens; an existing one is replaced. Throws ConfigError for families that PEFT names otherwise. */
export async function writePeftDir(
  dir: string,
  { config, lora, getParam, base }: WritePeftOptions,
): Promise<void> {
  const { rank, alpha, targets, rslora = false } = lora;
  const tensors: Record<string, SafetensorsTensor> = {};
  const add = (name: string, shape: number[], data: Float32Array) => {
    tensors[name] = { dtype: 'F32', shape, data };
  };
  for (const { a, b, site, index, rows, columns } of peftWeights(config, lora)) {
    const from = index * rank * columns;
    const allA = await getParam(`${site}.lora_a`);
    add(a, [rank, columns], allA.subarray(from, from + rank * columns));
    const allB = await getParam(`${site}.lora_b`);
    add(b, [rows[1] - rows[0], rank], allB.subarray(rows[0] * rank, rows[1] * rank));
  }
  if (config.isCritic)
    add(headTensor, [1, config.hiddenDim], await getParam(`${config.nLayers + 1}.head.weight`));
  const json = {
    peft_type: 'LORA',
    task_type: config.isCritic ? 'SEQ_CLS' : 'CAUSAL_LM',
    base_model_name_or_path: base,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    use_rslora: rslora,
    target_modules: targets,
    modules_to_save: config.isCritic ? ['score'] : null,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
  };
  await replaceDir(
    dir,
    async (temporary) => {
      await writeFile(join(temporary, configFile), JSON.stringify(json, null, 2) + '\n');
      await writeSafetensors(join(temporary, weightsFile), tensors);
    },
    { overwrite: true },
  );
}
