/**
 * ParamSpecs of an adapter: a flat space of its own beside the model's. `<layer>.<site>.lora_a` [targets·r, in] and
 * `<layer>.<site>.lora_b` [out, r]; rows of B whose target is not adapted stay zero. A critic's head, which starts fresh,
 * is trained whole with its adapter.
 */
import type { ModelConfig, ParamSpec } from '@realhf/api';

import { loraSites, type LoraConfig } from './config.js';

/** In the order of the flat space, which has no padding. Throws ConfigError as loraSites does. */
export function loraSpecs(config: ModelConfig, lora: LoraConfig): ParamSpec[] {
  const sites = loraSites(config, lora);
  const specs: ParamSpec[] = [];
  let offset = 0;
  const add = (layer: number, name: string, shape: number[], init: ParamSpec['init']) => {
    const size = shape.reduce((a, b) => a * b, 1);
    specs.push({ name: `${layer}.${name}`, shape, offset, size, layer, decay: true, init });
    offset += size;
  };
  for (let layer = 1; layer <= config.nLayers; layer++)
    for (const { name, rows, columns, adapted } of sites) {
      add(layer, `${name}.lora_a`, [adapted.length * lora.rank, columns], 'kaiming');
      add(layer, `${name}.lora_b`, [rows, lora.rank], 'zeros');
    }
  if (config.isCritic) add(config.nLayers + 1, 'head.weight', [1, config.hiddenDim], 'normal');
  return specs;
}
