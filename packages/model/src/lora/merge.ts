/** An adapter put into the weights: W + s·B·A, on the host, one weight at a time. */
import type { ModelConfig } from '@realhf/api';

import { loraScale, loraSites, type LoraConfig } from './config.js';

type GetParam = (name: string) => Float32Array | Promise<Float32Array>;

/** Full parameters with the adapter in them, from those of the model and those of the adapter. */
export function mergedParams(
  config: ModelConfig,
  lora: LoraConfig,
  base: GetParam,
  adapter: GetParam,
): (name: string) => Promise<Float32Array> {
  const sites = new Map(loraSites(config, lora).map((s) => [s.name, s]));
  const { rank } = lora;
  const scale = loraScale(lora);
  return async (name) => {
    if (config.isCritic && name.endsWith('.head.weight')) return adapter(name);
    const weight = await base(name);
    const match = /^(\d+\.(.+))\.weight$/.exec(name);
    const site = match && sites.get(match[2]!);
    if (!site) return weight;
    const { parts, adapted, columns } = site;
    const out = weight.slice();
    const a = await adapter(`${match[1]!}.lora_a`);
    const b = await adapter(`${match[1]!}.lora_b`);
    let row = 0;
    for (const { target, rows } of parts) {
      const index = adapted.indexOf(target);
      for (let i = row; index >= 0 && i < row + rows; i++)
        for (let k = 0; k < rank; k++) {
          const factor = scale * b[i * rank + k]!;
          if (factor === 0) continue;
          const from = (index * rank + k) * columns;
          const to = i * columns;
          for (let j = 0; j < columns; j++) out[to + j]! += factor * a[from + j]!;
        }
      row += rows;
    }
    return out;
  };
}
