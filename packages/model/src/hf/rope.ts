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
const common = { rope_theta: num.optional(), partial_rotary_factor: z.literal(1).optional() };
const types = {
  default: z.object(common),
  linear: z.object({ ...common, factor: num }),
  llama3: z.object({
    ...common,
    factor: num,
    low_freq_factor: num,
    high_freq_factor: num,
    original_max_position_embeddings: z.number().int().positive(),
  }),
};

/** Throws ConfigError for a type that we don't have or a missing field. */
export function ropeFromHf(family: string, json: HfConfig): RopeConfig {
  const top = parseFields(
    family,
    z.object({
      rope_theta: num.nullish(),
      partial_rotary_factor: z.literal(1).nullish(),
      rope_parameters: z.record(z.string(), z.unknown()).nullish(),
      rope_scaling: z.record(z.string(), z.unknown()).nullish(),
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
  };
  return {
    rope_parameters: { ...scaling, rope_theta: rope.base },
    rope_theta: rope.base,
    rope_scaling: rope.type === 'default' ? null : scaling,
  };
}
