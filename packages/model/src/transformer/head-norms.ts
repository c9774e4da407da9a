/**
 * RMS norms of single heads of q and k (Qwen3), with weights that all heads share. Ops.norm wants dense rows, heads are
 * columns of the fused projection: they are gathered into [t·heads, headDim], normed there and stay there; only their
 * gradients go back into the columns. Rows are found by an index of heads, the same for all blocks.
 */
import type { Arena, NormArgs, Tensor } from '@realhf/api';

import type { Shard } from './shard.js';

/** Rows of the heads of q and k in the fused projection seen as [t·(nHeads + 2·nKvHeads), headDim]: u32 [t·heads]. */
export interface HeadRows {
  readonly q: Tensor;
  readonly k: Tensor;
}

/** One of them before and after its norm: [t·heads, headDim], and the norm's stats. */
export interface NormedHeads {
  readonly raw: Tensor;
  readonly stats: Tensor;
  readonly out: Tensor;
}
export interface QkNormed {
  readonly q: NormedHeads;
  readonly k: NormedHeads;
}

/** The index of `heads` heads of every token, from the `first` of `width`. */
export function headIndex(t: number, first: number, heads: number, width: number): Uint32Array {
  return Uint32Array.from(
    { length: t * heads },
    (_, i) => Math.floor(i / heads) * width + first + (i % heads),
  );
}

/** undefined for models without these norms. */
export function makeHeadRows(arena: Arena, shard: Shard, t: number): HeadRows | undefined {
  if (!shard.config.qkNorm) return undefined;
  const { nHeads, nKvHeads } = shard.heads;
  const width = nHeads + 2 * nKvHeads;
  const upload = (first: number, heads: number) =>
    arena.fromHost(headIndex(t, first, heads, width), [t * heads], 'u32');
  return { q: upload(0, nHeads), k: upload(nHeads, nKvHeads) };
}

/** Memory for t tokens of a block; undefined for models without these norms. */
export function makeQkNormed(arena: Arena, shard: Shard, t: number): QkNormed | undefined {
  if (!shard.config.qkNorm) return undefined;
  const make = (heads: number): NormedHeads => ({
    raw: arena.empty([t * heads, shard.config.headDim]),
    stats: arena.empty([t * heads, 2]),
    out: arena.empty([t * heads, shard.config.headDim]),
  });
  return { q: make(shard.heads.nHeads), k: make(shard.heads.nKvHeads) };
}

const parts = ['q', 'k'] as const;
const weightName = (layer: number, part: 'q' | 'k') => `${layer}.attn.${part}_norm.weight`;

function normArgs(shard: Shard, layer: number, part: 'q' | 'k', x: Tensor): NormArgs {
  return { x, weight: shard.w(weightName(layer, part)), kind: 'rms', eps: shard.config.normEps };
}

/** Fills `to` from the heads in qkv [t, (nHeads + 2·nKvHeads)·headDim]. */
export function normHeads(
  shard: Shard,
  layer: number,
  qkv: Tensor,
  rows: HeadRows,
  to: QkNormed,
): void {
  for (const part of parts) {
    const { raw, stats, out } = to[part];
    shard.ops.gatherRows(qkv, rows[part], raw);
    shard.ops.norm({ ...normArgs(shard, layer, part, raw), out, stats });
  }
}

/** `dOut` (of the normed heads, shaped like them) becomes the gradient of the columns of q and k in dqkv; weights' accumulate. */
export function normHeadsBackward(
  shard: Shard,
  layer: number,
  saved: QkNormed,
  rows: HeadRows,
  dOut: { readonly q: Tensor; readonly k: Tensor },
  dqkv: Tensor,
): void {
  const { ops, config } = shard;
  for (const part of parts) {
    const { raw, stats, out: dx } = saved[part];
    ops.normBackward({
      ...normArgs(shard, layer, part, raw),
      stats,
      dOut: dOut[part],
      // The normed heads have done their work.
      dx,
      dWeight: shard.vectorGrad(weightName(layer, part)),
    });
    ops.scatterRows({
      src: { tensor: dx, offset: 0, stride: config.headDim },
      index: rows[part],
      rows: rows[part].size,
      columns: config.headDim,
      dst: dqkv,
    });
  }
}

/** Rows of all heads of one token side by side, as attention and rope take them. */
export function headsView(out: Tensor, heads: number, headDim: number) {
  return { tensor: out, offset: 0, stride: heads * headDim };
}
