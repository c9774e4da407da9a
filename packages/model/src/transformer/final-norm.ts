/** The norm before the head, on the last stage. */
import type { NormArgs, Tensor } from '@realhf/api';

import type { Shard } from './shard.js';

function args(shard: Shard, x: Tensor): NormArgs & { name: string } {
  const { norm: kind, normEps: eps, nLayers } = shard.config;
  const name = `${nLayers + 1}.ln_f`;
  const bias = shard.maybe(`${name}.bias`);
  return { name, x, weight: shard.w(`${name}.weight`), kind, eps, ...(bias ? { bias } : {}) };
}

export function finalNorm(shard: Shard, x: Tensor, out: Tensor, stats: Tensor): void {
  const { name: _, ...rest } = args(shard, x);
  shard.ops.norm({ ...rest, out, stats });
}

/** dx overwritten. */
export function finalNormBackward(
  shard: Shard,
  x: Tensor,
  stats: Tensor,
  dOut: Tensor,
  dx: Tensor,
): void {
  const { name, ...rest } = args(shard, x);
  const bias = shard.has(`${name}.bias`) ? { dBias: shard.g(`${name}.bias`) } : {};
  shard.ops.normBackward({ ...rest, stats, dOut, dx, dWeight: shard.g(`${name}.weight`), ...bias });
}

/** `L+1.head.weight`, or the embedding when tied. */
export function headName(shard: Shard): string {
  const { nLayers, tiedEmbedding, isCritic } = shard.config;
  return tiedEmbedding && !isCritic ? '0.wte.weight' : `${nLayers + 1}.head.weight`;
}
