/** The registry of Hugging Face families and its look-up by config.json. A new family is a file and a line here. */
import { ConfigError, createRegistry, type ModelConfig, type Registry } from '@realhf/api';
import type { HfConfig, HfFamily } from './family.js';
import { gemma } from './gemma.js';
import { gpt2 } from './gpt2.js';
import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { mixtral } from './mixtral.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';

/** Families by name; `register` adds a user's own. */
export const hfFamilies: Registry<HfFamily> = createRegistry('model family');
for (const family of [llama, gpt2, qwen2, qwen3, mistral, mixtral, gemma])
  hfFamilies.register(family.name, family);
// Other names of models that are LlamaForCausalLM.
for (const name of ['codellama', 'deepseek']) hfFamilies.register(name, llama);

/** By `architectures[0]`, else by `model_type`. Throws ConfigError that lists what is known. */
export function familyOfHf(json: HfConfig): HfFamily {
  const known = [...new Set(hfFamilies.names().map((n) => hfFamilies.get(n)))];
  const architecture: unknown = Array.isArray(json.architectures)
    ? json.architectures[0]
    : undefined;
  const found =
    architecture === undefined || architecture === null
      ? known.find((f) => f.modelType === json.model_type)
      : known.find((f) => Object.values(f.architectures).some((a) => a === architecture));
  if (found) return found;
  throw new ConfigError(
    `config.json: no model family for architecture ${JSON.stringify(architecture ?? null)}, model_type ${JSON.stringify(json.model_type ?? null)}; known: ${known
      .flatMap((f) => Object.values(f.architectures))
      .join(', ')}`,
  );
}

/** config.json of any known family as a ModelConfig. Throws ConfigError. */
export function configFromHf(json: HfConfig): ModelConfig {
  return familyOfHf(json).configFromHf(json);
}

/** The ModelConfig as config.json of its family. Throws ConfigError. */
export function configToHf(config: ModelConfig): Record<string, unknown> {
  return hfFamilies.get(config.family).configToHf(config);
}
