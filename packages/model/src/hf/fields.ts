/** Schemas of config.json fields that families share: token ids, activations. Unknown values list the known. */
import { ConfigError, type ModelConfig } from '@realhf/api';
import { z } from 'zod';
import type { HfConfig } from './family.js';

export const dim = z.number().int().positive();

/** An id, none, or a list of alternatives (Llama 3.1 has several ends), of which the first counts. */
export const tokenId = z
  .union([z.number().int(), z.array(z.number().int()).nonempty(), z.null()])
  .default(null)
  .transform((id) => (Array.isArray(id) ? id[0]! : id));

/** A probability of dropout; transformers also writes integers, and null for none. */
export const dropout = z
  .number()
  .min(0)
  .lt(1)
  .nullish()
  .transform((p) => p ?? 0);

const activations: Readonly<Record<string, ModelConfig['activation']>> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
};

/** Throws ConfigError for an activation that we don't have. */
export function activationFromHf(field: string, name: string): ModelConfig['activation'] {
  const found = Object.hasOwn(activations, name) ? activations[name] : undefined;
  if (found === undefined)
    throw new ConfigError(
      `config.json: ${field} '${name}' is unknown; known: ${Object.keys(activations).join(', ')}`,
    );
  return found;
}

/** Parses config.json's fields; throws ConfigError naming the first bad one. */
export function parseFields<T extends z.ZodType>(
  family: string,
  schema: T,
  json: HfConfig,
): z.infer<T> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new ConfigError(
    `config.json of a ${family}: ${issue.path.join('.') || 'file'}: ${issue.message}; correct the file`,
    { cause: result.error },
  );
}
