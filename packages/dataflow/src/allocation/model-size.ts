/**
 * Sizes of one rank's part of a model, from its config alone (this package knows no parameter names). What a layer
 * replicates over tensor-parallel ranks (norms, kv heads beyond their number) is counted on each.
 */
import type { ModelConfig, Parallelism } from '@realhf/api';
import { partitionBalanced } from '@realhf/packing';

/** Elements, per layer. */
export interface LayerSizes {
  readonly embedding: number;
  readonly block: number;
  readonly head: number;
  /** Key and value elements of one token in one block. */
  readonly kv: number;
}

/** Of one of `tp` tensor-parallel ranks, the largest where they differ. */
export function layerSizes(config: ModelConfig, tp = 1): LayerSizes {
  const { hiddenDim: h, headDim: d, vocabSize } = config;
  const q = Math.ceil(config.nHeads / tp) * d;
  const kv = 2 * Math.ceil(config.nKvHeads / tp) * d;
  const inter = Math.ceil(config.intermediateDim / tp);
  const norm = config.norm === 'layer' ? 2 * h : h;
  const products = config.mlp === 'gated' ? 3 : 2;
  const biases =
    (config.qkvBias ? q + kv : 0) +
    (config.projBias ? h : 0) +
    (config.mlpBias ? (products - 1) * inter + h : 0) +
    (config.qkNorm ? 2 * d : 0);
  const rows = Math.ceil(vocabSize / tp);
  const experts = config.moe?.numExperts ?? 1;
  const router = config.moe ? config.moe.numExperts * h : 0;
  return {
    embedding: rows * h + (config.rope ? 0 : config.maxPositions * h),
    block: h * (2 * q + kv) + experts * products * h * inter + router + 2 * norm + biases,
    head: norm + (config.isCritic ? h : config.tiedEmbedding ? 0 : rows * h),
    kv,
  };
}

/** Sizes of the largest pipeline stage. */
export interface StageSizes {
  /** Of one rank of the largest stage. */
  readonly parameters: number;
  /** Blocks of the stage that has most. */
  readonly blocks: number;
}

/** Planning asks for the same few again and again. */
const known = new WeakMap<ModelConfig, Map<string, StageSizes>>();

/** Sizes of the largest pipeline stages. */
export function stageSizes(config: ModelConfig, parallel: Parallelism): StageSizes {
  const key = `${parallel.tensorParallelSize} ${parallel.pipelineParallelSize}`;
  const ofConfig = known.get(config) ?? new Map<string, StageSizes>();
  known.set(config, ofConfig);
  const sizes = ofConfig.get(key) ?? computeStages(config, parallel);
  ofConfig.set(key, sizes);
  return sizes;
}

function computeStages(
  config: ModelConfig,
  { tensorParallelSize: tp, pipelineParallelSize: pp }: Parallelism,
): StageSizes {
  const { embedding, block, head } = layerSizes(config, tp);
  const layers = [embedding, ...new Array<number>(config.nLayers).fill(block), head];
  // Tied embeddings are on the last stage too.
  const twin = Math.ceil(config.vocabSize / tp) * config.hiddenDim;
  const tied = pp > 1 && config.tiedEmbedding && !config.isCritic ? twin : 0;
  let parameters = 0;
  let blocks = 0;
  for (const [from, to] of partitionBalanced(layers, pp)) {
    const size = layers.slice(from, to).reduce((a, b) => a + b, 0);
    parameters = Math.max(parameters, size + (to === layers.length ? tied : 0));
    blocks = Math.max(blocks, Math.min(to, layers.length - 1) - Math.max(from, 1));
  }
  return { parameters, blocks };
}

/** Elements of the whole model. */
export function modelSize(config: ModelConfig): number {
  const { embedding, block, head } = layerSizes(config);
  return embedding + config.nLayers * block + head;
}
