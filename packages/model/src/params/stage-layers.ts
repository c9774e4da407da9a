/** Pipeline stages: contiguous runs of the L + 2 layers, balanced by their parameters (reference: 2.6). */
import { ConfigError, type ModelConfig } from '@realhf/api';
import { partitionBalanced } from '@realhf/packing';
import { paramSpecs } from './specs.js';
import type { Range } from './tensor-slices.js';

/** Layers of each of `size` stages; 0 = embeddings, L + 1 = final norm and head. Throws ConfigError if there are too few. */
export function stageLayers(config: ModelConfig, size: number): Range[] {
  const layers = config.nLayers + 2;
  if (size > layers)
    throw new ConfigError(
      `pipeline parallel size ${size} exceeds the ${layers} layers (embeddings, ${config.nLayers} blocks, head); choose a smaller one`,
    );
  const counts = new Array<number>(layers).fill(0);
  for (const s of paramSpecs(config)) counts[s.layer]! += s.size;
  return partitionBalanced(counts, size, { minSize: 1 });
}
