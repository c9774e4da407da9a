/**
 * Options of `real plan ALGO`: those of `real ALGO`, none of them required, and a preset where a model would be. So the
 * command line of a run is one of `real plan` too.
 */
import { ConfigError } from '@realhf/api';
import { z } from 'zod';

import { dpoSchema } from '../options/schemas/dpo.js';
import { genSchema } from '../options/schemas/gen.js';
import { grpoSchema } from '../options/schemas/grpo.js';
import { loraSchema } from '../options/schemas/lora.js';
import { mfcSchema } from '../options/schemas/mfc.js';
import { frozenModelSchema } from '../options/schemas/model.js';
import { ppoEmaSchema } from '../options/schemas/ppo-ema.js';
import { ppoSchema } from '../options/schemas/ppo.js';
import { raftSchema } from '../options/schemas/raft.js';
import { remaxSchema } from '../options/schemas/remax.js';
import { rlooSchema } from '../options/schemas/rloo.js';
import { rwSchema } from '../options/schemas/rw.js';
import { sftSchema } from '../options/schemas/sft.js';
import { simpoSchema } from '../options/schemas/simpo.js';

const schemas: Readonly<Record<string, z.ZodObject>> = {
  ppo: ppoSchema,
  'ppo-ema': ppoEmaSchema,
  grpo: grpoSchema,
  rloo: rlooSchema,
  remax: remaxSchema,
  raft: raftSchema,
  dpo: dpoSchema,
  simpo: simpoSchema,
  sft: sftSchema,
  rw: rwSchema,
  gen: genSchema,
};
export const algorithmNames = [
  'ppo',
  'ppo-ema',
  'grpo',
  'rloo',
  'remax',
  'raft',
  'dpo',
  'simpo',
  'sft',
  'rw',
  'gen',
] as const;
export type AlgorithmName = (typeof algorithmNames)[number];

/** Throws ConfigError. */
export function algorithmOf(name: string): AlgorithmName {
  const found = algorithmNames.find((a) => a === name);
  if (!found)
    throw new ConfigError(`no algorithm '${name}'; there are ${algorithmNames.join(', ')}`);
  return found;
}

const preset = (what: string) =>
  z.string().min(1).nullable().default(null).describe(`${what}, e.g. llama-7b`);

const planShape = {
  preset: preset('shape of every model that has no path or preset of its own'),
  capacity_gib: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe('memory of a device in GiB: the plan must fit; null: any'),
  json: z.boolean().default(false).describe('print one JSON object'),
};

const objectIn = (schema: z.ZodType): z.ZodObject | undefined => {
  const inner =
    schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault ? schema.unwrap() : schema;
  return inner instanceof z.ZodObject ? inner : undefined;
};

/** The schema of an algorithm's plan. */
export function planSchema(algorithm: AlgorithmName): z.ZodObject {
  const shape: Record<string, z.ZodType> = {};
  for (const [key, value] of Object.entries(schemas[algorithm]!.shape) as [string, z.ZodType][]) {
    const inner = objectIn(value);
    const described = (s: z.ZodType) => s.describe(value.description ?? '');
    if (key === 'experiment_name') shape[key] = z.string().default('plan').describe('ignored here');
    else if (inner && 'init_from_scratch' in inner.shape)
      shape[key] = described(
        z.object({ preset: preset('shape instead of path'), ...inner.shape }).prefault({}),
      );
    else if (inner && key === 'dataset') shape[key] = described(withoutRequired(inner));
    else shape[key] = value;
  }
  return z.object({ ...planShape, ...shape });
}

/** The algorithm's options with none required: data is made up. `name`: the default of experiment_name. */
export function unboundSchema(algorithm: AlgorithmName, name: string): z.ZodObject {
  const shape: Record<string, z.ZodType> = { ...schemas[algorithm]!.shape };
  const dataset = objectIn(shape.dataset!)!;
  shape.dataset = withoutRequired(dataset).describe('lengths and sizes of mock records');
  shape.experiment_name = z.string().min(1).default(name).describe('names the directory');
  return z.object(shape);
}

function withoutRequired(schema: z.ZodObject): z.ZodType {
  const shape = Object.fromEntries(
    (Object.entries(schema.shape) as [string, z.ZodType][]).map(([key, value]) => [
      key,
      value instanceof z.ZodString
        ? z.string().nullable().default(null).describe('ignored here')
        : value,
    ]),
  );
  return z.object(shape).prefault({});
}

const modelView = frozenModelSchema.extend({
  preset: planShape.preset,
  gradient_checkpointing: z.boolean().default(true),
  lora: loraSchema.optional(),
});
export type PlannedModel = z.infer<typeof modelView>;

const newTokens = z.object({ max_new_tokens: z.number() });

/** What a plan reads of the options. */
const view = z.object({
  ...planShape,
  n_nodes: z.number(),
  n_gpus_per_node: z.number(),
  allocation_mode: z.string(),
  matmul_precision: z.string(),
  dataset: z.object({
    train_bs_n_seqs: z.number(),
    max_prompt_len: z.number().optional(),
    max_seqlen: z.number().optional(),
    max_pairs_per_prompt: z.number().optional(),
  }),
  ppo: z.object({ gen: newTokens, ppo_n_minibatches: z.number() }).optional(),
  gen: newTokens.optional(),
  ppo_n_minibatches: z.number().optional(),
  group_size: z.number().optional(),
});

export interface PlanOptions extends z.infer<typeof view> {
  /** By option key: actor, rew, … */
  readonly models: Readonly<Record<string, PlannedModel>>;
  /** By option key: actor_gen, allocation, … */
  readonly calls: Readonly<Record<string, z.infer<typeof mfcSchema>>>;
}

/** From what `planSchema` gave. */
export function planOptions(config: Readonly<Record<string, unknown>>): PlanOptions {
  const models: Record<string, PlannedModel> = {};
  const calls: PlanOptions['calls'][string][] = [];
  const names: string[] = [];
  for (const [key, value] of Object.entries(config)) {
    if (typeof value !== 'object' || value === null) continue;
    if ('init_from_scratch' in value) models[key] = modelView.parse(value);
    if ('parallel' in value) {
      names.push(key);
      calls.push(mfcSchema.parse(value));
    }
  }
  return {
    ...view.parse(config),
    models,
    calls: Object.fromEntries(names.map((n, i) => [n, calls[i]!])),
  };
}
