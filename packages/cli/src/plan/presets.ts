/** Shapes of published models by name, for planning without a checkpoint. */
import { ConfigError, modelConfigSchema, type ModelConfig } from '@realhf/api';

import { didYouMean } from '../options/suggest.js';

interface Shape {
  readonly family: string;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly hidden: number;
  readonly inner: number;
  readonly vocab: number;
  readonly positions: number;
  readonly tied?: boolean;
  readonly bias?: boolean;
  readonly qkNorm?: boolean;
}

const shapes: Readonly<Record<string, Shape>> = {
  gpt2: {
    family: 'gpt2',
    layers: 12,
    heads: 12,
    kvHeads: 12,
    headDim: 64,
    hidden: 768,
    inner: 3072,
    vocab: 50257,
    positions: 1024,
    tied: true,
    bias: true,
  },
  'llama-7b': llama(32, 32, 32, 4096, 11008, 32000, 4096),
  'llama-13b': llama(40, 40, 40, 5120, 13824, 32000, 4096),
  'llama-34b': llama(48, 64, 8, 8192, 22016, 32000, 16384),
  'llama-70b': llama(80, 64, 8, 8192, 28672, 32000, 4096),
  'llama3-8b': llama(32, 32, 8, 4096, 14336, 128256, 8192),
  'llama3-70b': llama(80, 64, 8, 8192, 28672, 128256, 8192),
  'llama3.2-1b': { ...llama(16, 32, 8, 2048, 8192, 128256, 131072), tied: true },
  'llama3.2-3b': { ...llama(28, 24, 8, 3072, 8192, 128256, 131072), tied: true },
  'mistral-7b': { ...llama(32, 32, 8, 4096, 14336, 32000, 32768), family: 'mistral' },
  'qwen2.5-0.5b': qwen(24, 14, 2, 896, 4864, 151936, true),
  'qwen2.5-1.5b': qwen(28, 12, 2, 1536, 8960, 151936, true),
  'qwen2.5-7b': qwen(28, 28, 4, 3584, 18944, 152064, false),
  'qwen3-0.6b': qwen3(28, 16, 8, 1024, 3072, true),
  'qwen3-8b': qwen3(36, 32, 8, 4096, 12288, false),
};
export const presetNames = Object.keys(shapes);

function llama(
  layers: number,
  heads: number,
  kvHeads: number,
  hidden: number,
  inner: number,
  vocab: number,
  positions: number,
): Shape {
  const headDim = hidden / heads;
  return { family: 'llama', layers, heads, kvHeads, headDim, hidden, inner, vocab, positions };
}
function qwen(
  layers: number,
  heads: number,
  kvHeads: number,
  hidden: number,
  inner: number,
  vocab: number,
  tied: boolean,
): Shape {
  const shape = llama(layers, heads, kvHeads, hidden, inner, vocab, 32768);
  return { ...shape, family: 'qwen2', tied, bias: true };
}
function qwen3(
  layers: number,
  heads: number,
  kvHeads: number,
  hidden: number,
  inner: number,
  tied: boolean,
): Shape {
  const shape = llama(layers, heads, kvHeads, hidden, inner, 151936, 40960);
  return { ...shape, family: 'qwen3', headDim: 128, tied, qkNorm: true };
}

/** Throws ConfigError on an unknown name. */
export function presetConfig(name: string, isCritic: boolean): ModelConfig {
  const s = shapes[name];
  if (!s)
    throw new ConfigError(
      `no preset '${name}'${didYouMean(name, presetNames) || `; presets are ${presetNames.join(', ')}`}`,
    );
  const isGpt2 = s.family === 'gpt2';
  return modelConfigSchema.parse({
    family: s.family,
    nLayers: s.layers,
    nHeads: s.heads,
    nKvHeads: s.kvHeads,
    headDim: s.headDim,
    hiddenDim: s.hidden,
    intermediateDim: s.inner,
    vocabSize: s.vocab,
    maxPositions: s.positions,
    norm: isGpt2 ? 'layer' : 'rms',
    normEps: 1e-5,
    mlp: isGpt2 ? 'plain' : 'gated',
    activation: isGpt2 ? 'gelu_tanh' : 'silu',
    ...(isGpt2 ? {} : { rope: {} }),
    qkNorm: s.qkNorm ?? false,
    qkvBias: s.bias ?? false,
    projBias: isGpt2,
    mlpBias: isGpt2,
    tiedEmbedding: s.tied ?? false,
    attentionScale: 1 / Math.sqrt(s.headDim),
    isCritic,
  });
}
