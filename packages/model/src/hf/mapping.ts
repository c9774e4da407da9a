/** The head's mapping, the same in every family: `lm_head.weight`, or `score.weight` of a one-label classifier. */
import type { ModelConfig } from '@realhf/api';
import { hasOwnHead } from '../params/specs.js';
import type { TensorMapping } from './family.js';

export const actorHead = 'lm_head.weight';
export const criticHead = 'score.weight';

/** Empty when the head is tied to the embedding. */
export function headMapping(config: ModelConfig): TensorMapping[] {
  if (!hasOwnHead(config)) return [];
  const rows = config.isCritic ? 1 : config.vocabSize;
  return [
    {
      hf: config.isCritic ? criticHead : actorHead,
      hfShape: [rows, config.hiddenDim],
      param: `${config.nLayers + 1}.head.weight`,
      rows: [0, rows],
      transposed: false,
    },
  ];
}
