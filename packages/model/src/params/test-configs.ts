/** Small model configs for the tests of params and hf: every shape option at least once. */
import { modelConfigSchema, type ModelConfig } from '@realhf/api';

/** A small llama with the given fields changed. */
export function llamaConfig(change: Partial<ModelConfig> = {}): ModelConfig {
  const base = {
    family: 'llama',
    nLayers: 2,
    nHeads: 4,
    nKvHeads: 2,
    headDim: 6,
    hiddenDim: 20,
    intermediateDim: 24,
    vocabSize: 40,
    maxPositions: 64,
    norm: 'rms',
    normEps: 1e-6,
    mlp: 'gated',
    activation: 'silu',
    rope: {},
    ...change,
  };
  return modelConfigSchema.parse({ attentionScale: 1 / Math.sqrt(base.headDim), ...base });
}

/** A small gpt2 with the given fields changed. */
export function gpt2Config(change: Partial<ModelConfig> = {}): ModelConfig {
  return llamaConfig({
    family: 'gpt2',
    nKvHeads: 4,
    headDim: 5,
    intermediateDim: 80,
    norm: 'layer',
    normEps: 1e-5,
    mlp: 'plain',
    activation: 'gelu_tanh',
    rope: undefined,
    qkvBias: true,
    projBias: true,
    mlpBias: true,
    tiedEmbedding: true,
    ...change,
  });
}
