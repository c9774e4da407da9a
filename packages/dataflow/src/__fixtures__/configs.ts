/** Shapes of models for allocation tests. */
import { modelConfigSchema, type ModelConfig } from '@realhf/api';

export function shape(change: Partial<ModelConfig> = {}): ModelConfig {
  return modelConfigSchema.parse({
    family: 'llama',
    nLayers: 4,
    nHeads: 8,
    nKvHeads: 2,
    headDim: 16,
    hiddenDim: 128,
    intermediateDim: 256,
    vocabSize: 1000,
    maxPositions: 512,
    norm: 'rms',
    normEps: 1e-5,
    mlp: 'gated',
    activation: 'silu',
    rope: {},
    attentionScale: 0.25,
    ...change,
  });
}

/** Llama 2 7B. */
export const llama7b: Partial<ModelConfig> = {
  nLayers: 32,
  nHeads: 32,
  nKvHeads: 32,
  headDim: 128,
  hiddenDim: 4096,
  intermediateDim: 11008,
  vocabSize: 32000,
  maxPositions: 4096,
};
