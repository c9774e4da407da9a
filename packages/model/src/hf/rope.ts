/**
 * Rotary position settings of config.json, both spellings: transformers 4 (`rope_theta` and `rope_scaling`, whose
 * type is under `rope_type` or, older, `type`) and transformers 5 (`rope_parameters`). Written in both, so that
 * either version reads the same model.
 */
import { ConfigError, type RopeConfig } from '@realhf/api';
import { z } from 'zod';
import { parseFields } from './fields.js';
import type { HfConfig } from './family.js';

const defaultBase = 10000;
const num = z.number().positive();
const positions = z.number().int().positive();
const common = { rope_theta: num.optional(), partial_rotary_factor: z.literal(1).optional() };
const types = {
  default: z.object(common),
  linear: z.object({ ...common, factor: num }),
  dynamic: z.object({
    ...common,
    factor: num,
    original_max_position_embeddings: positions.nullish(),
  }),
  llama3: z.object({
    ...common,
    factor: num,
    low_freq_factor: num,
    high_freq_factor: num,
    original_max_position_embeddings: positions,
  }),
  yarn: z.object({
    ...common,
    factor: num,
    original_max_position_embeddings: positions.nullish(),
    attention_factor: num.nullish(),
    mscale: z.number().nonnegative().nullish(),
    mscale_all_dim: z.number().nonnegative().nullish(),
    beta_fast: num.nullish(),
    beta_slow: num.nullish(),
    truncate: z.boolean().default(true),
  }),
};

/** The temperature of yarn by its paper, as a factor of cos and sin. */
const yarnScale = (factor: number, by = 1) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);

/**
 * `dynamic` changes the frequencies with the length of a sequence that is longer than the original context.
 * Sequences longer than max_position_embeddings are refused everywhere, so only a shorter original would matter.
 */
function checkDynamic(what: string, original: number | null | undefined, max: number | undefined) {
  if (original !== undefined && original !== null && original !== max)
    throw new ConfigError(
      `config.json of a ${what}: original_max_position_embeddings ${original} is not max_position_embeddings ${max ?? 'of the model'}: frequencies that depend on a sequence's length are not supported; known beyond that: ${Object.keys(types).join(', ')}`,
    );
}

/** Throws ConfigError for a type that we don't have or a missing field. */
export function ropeFromHf(family: string, json: HfConfig): RopeConfig {
  const top = parseFields(
    family,
    z.object({
      rope_theta: num.nullish(),
      partial_rotary_factor: z.literal(1).nullish(),
      rope_parameters: z.record(z.string(), z.unknown()).nullish(),
      rope_scaling: z.record(z.string(), z.unknown()).nullish(),
      max_position_embeddings: positions.optional(),
    }),
    json,
  );
  const from = top.rope_scaling ? 'rope_scaling' : 'rope_parameters';
  const params = top.rope_scaling ?? top.rope_parameters ?? {};
  const type = params.rope_type ?? params.type ?? 'default';
  if (typeof type !== 'string' || !Object.hasOwn(types, type))
    throw new ConfigError(
      `config.json: ${from} has type ${JSON.stringify(type)}; known: ${Object.keys(types).join(', ')}`,
    );
  const what = `${family} with ${from} '${type}'`;
  const base = parseFields(what, types.default, params).rope_theta ?? top.rope_theta ?? defaultBase;
  switch (type as keyof typeof types) {
    case 'default':
      return { type: 'default', base };
    case 'linear':
      return { type: 'linear', base, factor: parseFields(what, types.linear, params).factor };
    case 'dynamic': {
      const p = parseFields(what, types.dynamic, params);
      checkDynamic(what, p.original_max_position_embeddings, top.max_position_embeddings);
      return { type: 'dynamic', base, factor: p.factor };
    }
    case 'llama3': {
      const p = parseFields(what, types.llama3, params);
      return {
        type: 'llama3',
        base,
        factor: p.factor,
        lowFreqFactor: p.low_freq_factor,
        highFreqFactor: p.high_freq_factor,
        originalMaxPositions: p.original_max_position_embeddings,
      };
    }
    case 'yarn': {
      const p = parseFields(what, types.yarn, params);
      const original = p.original_max_position_embeddings ?? top.max_position_embeddings;
      if (original === undefined)
        throw new ConfigError(
          `config.json of a ${what}: original_max_position_embeddings is missing; add it`,
        );
      const { factor, mscale, mscale_all_dim: allDim } = p;
      return {
        type: 'yarn',
        base,
        factor,
        originalMaxPositions: original,
        attentionFactor:
          p.attention_factor ??
          (mscale && allDim
            ? yarnScale(factor, mscale) / yarnScale(factor, allDim)
            : yarnScale(factor)),
        betaFast: p.beta_fast ?? 32,
        betaSlow: p.beta_slow ?? 1,
        truncate: p.truncate,
      };
    }
  }
}

/** `rope_parameters`, `rope_theta` and `rope_scaling`. */
export function ropeToHf(rope: RopeConfig): Record<string, unknown> {
  const scaling = {
    rope_type: rope.type,
    ...(rope.type === 'default' ? {} : { factor: rope.factor }),
    ...(rope.type === 'llama3'
      ? {
          low_freq_factor: rope.lowFreqFactor,
          high_freq_factor: rope.highFreqFactor,
          original_max_position_embeddings: rope.originalMaxPositions,
        }
      : {}),
    ...(rope.type === 'yarn'
      ? {
          original_max_position_embeddings: rope.originalMaxPositions,
          attention_factor: rope.attentionFactor,
          beta_fast: rope.betaFast,
          beta_slow: rope.betaSlow,
          truncate: rope.truncate,
        }
      : {}),
  };
  return {
    rope_parameters: { ...scaling, rope_theta: rope.base },
    rope_theta: rope.base,
    rope_scaling: rope.type === 'default' ? null : scaling,
  };
}
