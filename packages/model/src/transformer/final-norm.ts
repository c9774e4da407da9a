/** The norm before the head, on the last stage. */
import type { NormArgs, Tensor } from '@realhf/api';

import type { Shard } from './shard.js';

const finalNormName = (nLayers: number) => `${nLayers + 1}.ln_f`;

function args(shard: Shard, x: Tensor): NormArgs {
  const { norm: kind, normEps: eps, nLayers } = shard.config;
  const name = finalNormName(nLayers);
  const bias = shard.maybe(`${name}.bias`);
  return { x, weight: shard.w(`${name}.weight`), kind, eps, ...(bias ? { bias } : {}) };
}

export function finalNorm(shard: Shard, x: Tensor, out: Tensor, stats: Tensor): void {
  shard.ops.norm({ ...args(shard, x), out, stats });
}

/** dx overwritten. */
export function finalNormBackward(
  shard: Shard,
  x: Tensor,
  stats: Tensor,
  dOut: Tensor,
  dx: Tensor,
): void {
  const name = finalNormName(shard.config.nLayers);
  const bias = shard.has(`${name}.bias`) ? { dBias: shard.vectorGrad(`${name}.bias`) } : {};
  shard.ops.normBackward({
    ...args(shard, x),
    stats,
    dOut,
    dx,
    dWeight: shard.vectorGrad(`${name}.weight`),
    ...bias,
  });
}

/** `L+1.head.weight`, or the embedding when tied. */
export function headName(shard: Shard): string {
  const { nLayers, tiedEmbedding, isCritic } = shard.config;
  return tiedEmbedding && !isCritic ? '0.wte.weight' : `${nLayers + 1}.head.weight`;
}
