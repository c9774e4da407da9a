/** Models of a named shape with made-up weights, for benchmarks. The shape 1b is TinyLlama-1.1B's. */
import type { ModelConfig, Ops } from '@realhf/api';
import { ReaLModel } from '@realhf/model';

/** What both families share. */
const common = (
  hidden: number,
  layers: number,
  heads: number,
  kv: number,
  inner: number,
  vocab: number,
): ModelConfig => ({
  family: 'llama',
  nLayers: layers,
  nHeads: heads,
  nKvHeads: kv,
  headDim: hidden / heads,
  hiddenDim: hidden,
  intermediateDim: inner,
  vocabSize: vocab,
  maxPositions: 2048,
  norm: 'rms',
  normEps: 1e-5,
  mlp: 'gated',
  activation: 'silu',
  qkNorm: false,
  qkvBias: false,
  projBias: false,
  mlpBias: false,
  tiedEmbedding: false,
  embeddingScale: 1,
  attentionScale: 1 / Math.sqrt(hidden / heads),
  scaleAttentionByInverseLayer: false,
  embdDropout: 0,
  residDropout: 0,
  attnDropout: 0,
  initStd: 0.02,
  isCritic: false,
  bosTokenId: 1,
  eosTokenId: 2,
  padTokenId: 0,
});
/** A llama of these sizes: hidden, layers, heads, heads of keys and values, inner, vocabulary. */
export const llama = (...sizes: Parameters<typeof common>): ModelConfig => ({
  ...common(...sizes),
  rope: { type: 'default', base: 10000 },
});
const gpt2 = (hidden: number, layers: number, heads: number): ModelConfig => {
  return {
    ...common(hidden, layers, heads, heads, 4 * hidden, 50257),
    family: 'gpt2',
    maxPositions: 1024,
    norm: 'layer',
    mlp: 'plain',
    activation: 'gelu_tanh',
    qkvBias: true,
    projBias: true,
    mlpBias: true,
    tiedEmbedding: true,
  };
};
/** Shapes of models by name. */
export const shapes: Readonly<Record<string, ModelConfig>> = {
  tiny: llama(64, 2, 2, 2, 192, 2304),
  four: llama(64, 4, 4, 4, 192, 2304),
  '1b': llama(2048, 22, 32, 4, 5632, 32000),
  'gpt2-medium': gpt2(1024, 24, 16),
};

/** Speed does not depend on the values: one block of random numbers, repeated, spares a minute of Box–Muller. */
export function madeUpModel(
  ops: Ops,
  config: ModelConfig,
  gradientCheckpointing = false,
): ReaLModel {
  const model = new ReaLModel({ ops, config, gradientCheckpointing });
  const block = Float32Array.from({ length: 1 << 20 }, () => 0.04 * (Math.random() - 0.5));
  for (const segment of model.params)
    for (let at = 0; at < segment.size; at += block.length)
      ops.write(segment, block.subarray(0, Math.min(block.length, segment.size - at)), at);
  return model;
}
