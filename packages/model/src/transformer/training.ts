/**
 * What layers do only in passes with `train`: dropout and jitter, drawn anew in backward from a key per token and so never
 * stored, and the auxiliary losses of mixtures of experts. A token's key comes from its sequence's seed and its position:
 * the draws are the same in any microbatch and layout.
 */
import type { Arena, ForwardOptions, ModelConfig, Ops, PackedBatch, Tensor } from '@realhf/api';

import { MoeStatistics } from './moe-statistics.js';
import type { Shard } from './shard.js';

export interface Training {
  /** Of this microbatch's auxiliary losses. */
  readonly auxWeight: number;
  /** u32 [t], and those of this rank's rows [rows]; undefined: nothing is drawn. */
  readonly keys?: { readonly all: Tensor; readonly rows: Tensor };
  readonly moe?: MoeStatistics;
}

/** What is drawn in one place of the model; layers count from 1, embeddings are 0. */
export const noiseSites = { embedding: 0, attention: 1, mlp: 2, router: 3, weights: 4 } as const;
export const noiseStream = (layer: number, site: keyof typeof noiseSites): number =>
  layer * 8 + noiseSites[site];

/** A bijection of u32 with good avalanche. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** u32 [tokens] of sequences with these seeds [N]; 0 for padding, which no loss sees. */
export function tokenKeys(
  cuSeqlens: Int32Array,
  seeds: Uint32Array,
  positions: Int32Array,
): Uint32Array {
  const out = new Uint32Array(positions.length);
  for (let s = 0; s + 1 < cuSeqlens.length; s++)
    for (let i = cuSeqlens[s]!; i < cuSeqlens[s + 1]!; i++)
      out[i] = mix(seeds[s]! ^ mix(positions[i]! + 1));
  return out;
}

const drawsNoise = (c: ModelConfig) =>
  c.embdDropout + c.residDropout + c.attnDropout + (c.moe?.inputJitterEps ?? 0) > 0 ||
  c.moe?.routing === 'sinkhorn';

/** Of BatchTensors. */
interface BatchShape {
  readonly t: number;
  readonly nTokens: number;
  readonly rows: number;
  readonly positions: Int32Array;
}

/** undefined without `train`. */
export function makeTraining(
  arena: Arena,
  shard: Shard,
  batch: PackedBatch,
  b: BatchShape,
  options: ForwardOptions,
): Training | undefined {
  if (!options.train) return undefined;
  const { config, ops } = shard;
  const moe = config.moe && new MoeStatistics(arena, config, config.moe, b.nTokens);
  const training = { auxWeight: options.auxWeight ?? 0, ...(moe ? { moe } : {}) };
  if (!options.noiseSeeds || !drawsNoise(config)) return training;
  const keys = tokenKeys(batch.cuSeqlens, options.noiseSeeds, b.positions);
  const all = arena.fromHost(keys, [b.t], 'u32');
  if (b.rows === b.t) return { ...training, keys: { all, rows: all } };
  const first = b.rows * shard.groups.coordinates.tp;
  const rows = arena.own(ops.fromHost(keys.slice(first, first + b.rows), [b.rows], 'u32'));
  return { ...training, keys: { all, rows } };
}

/** The dropout of `x` [rows, hidden] at one place, or undefined where there is none. */
export function rowDropout(
  ops: Ops,
  training: Training | undefined,
  amount: number,
  stream: number,
): ((x: Tensor, out: Tensor, accumulate?: boolean) => void) | undefined {
  const keys = training?.keys?.rows;
  if (!keys || amount === 0) return undefined;
  return (x, out, accumulate = false) => {
    ops.randomScale({ x, out, keys, stream, kind: 'dropout', amount, accumulate });
  };
}
