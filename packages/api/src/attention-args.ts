/** What a call of attention says: packed, over a cache, over paged keys, backward, with dropout. */
import type { Strided, Tensor } from './tensor.js';

/** Attention weights dropped in training: the factor of (query t, key s, head) depends on t's key, `stream`, the global head and t − s. */
export interface AttentionDropout {
  /** u32 [tQ]; queries and keys are rows of the same batch. */
  readonly keys: Tensor;
  /** Below 65536. */
  readonly stream: number;
  readonly amount: number;
}

/** Attention of packed queries over ranges of keys. */
export interface AttentionArgs {
  /** Rows of nHeads·headDim: queries [tQ]. */
  readonly q: Strided;
  /** Rows of nKvHeads·headDim: keys [tKv]; for decode a KV cache. */
  readonly k: Strided;
  readonly v: Strided;
  /** u32 [tQ, 2]: query t attends to key rows begin ≤ s < end (causality and windows are in these numbers). */
  readonly kvRange: Tensor;
  /** Query t's pair is at element stride·t + offset of kvRange (decode reads it from the sampling state). Default 2 and 0. */
  readonly kvRangeStride?: number;
  readonly kvRangeOffset?: number;
  /** [tQ, nHeads·headDim]. */
  readonly out: Tensor;
  /** [tQ, nHeads]: log-sum-exp of the scaled scores, kept for backward. */
  readonly lse?: Tensor;
  readonly tQ: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  /** Multiplies q·k, usually 1/√headDim. */
  readonly scale: number;
  /** First kv head of this rank and q heads before this rank: maps local q head h to kv head ⌊(h + qHeadOffset) / group⌋ − kvHeadOffset. Default 0 and nHeads/nKvHeads. */
  readonly qHeadOffset?: number;
  readonly kvHeadOffset?: number;
  readonly group?: number;
  /** Default: none. */
  readonly dropout?: AttentionDropout;
}

/** What attention's backward needs beside the arguments of its forward. */
export interface AttentionBackwardArgs extends AttentionArgs {
  readonly lse: Tensor;
  /** [tQ, nHeads·headDim]. */
  readonly dOut: Tensor;
  /** u32 [tKv, 2]: key row s is attended by query rows begin ≤ t < end. */
  readonly qRange: Tensor;
  readonly tKv: number;
  readonly dq: Strided;
  readonly dk: Strided;
  readonly dv: Strided;
}

/**
 * Keys and values of many sequences in one pool each, in pages that need not be neighbours. Row t is a token: key s of its
 * sequence is at row `pageTable[line, ⌊s / pageSize⌋] · pageSize + s mod pageSize` of the pools.
 */
export interface PagedKeys {
  /** [pages · pageSize, nKvHeads·headDim]. */
  readonly kPool: Tensor;
  readonly vPool: Tensor;
  /** u32 [lines, pages of a line]. */
  readonly pageTable: Tensor;
  /** Tokens, a power of two. */
  readonly pageSize: number;
  /** u32: entry rowStride·t + rowOffset is the line of token t, the next one how many keys its sequence has with it. */
  readonly rows: Tensor;
  readonly rowStride: number;
  readonly rowOffset: number;
}

/** Attention of token t to all keys up to its own, or to the last `window` of them: bits as Ops.attention gives them. */
export interface PagedAttentionArgs extends Omit<
  AttentionArgs,
  'k' | 'v' | 'kvRange' | 'kvRangeStride' | 'kvRangeOffset' | 'lse' | 'dropout'
> {
  readonly keys: PagedKeys;
  /** Default: no window. */
  readonly window?: number;
}
