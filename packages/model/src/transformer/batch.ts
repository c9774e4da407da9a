/** What the layers need to know of a packed batch: positions and who attends to whom. Integers on the host, then on the device. */
import { DataError, type Arena, type PackedBatch, type Tensor } from '@realhf/api';

import { makeHeadRows, type HeadRows } from './head-norms.js';
import type { Shard } from './shard.js';
import type { Training } from './training.js';

export interface BatchTensors {
  /** Tokens, padding included. */
  readonly t: number;
  /** Tokens of the batch itself, which come first. */
  readonly nTokens: number;
  /** Of all tokens the residual stream has these many on this rank: t, or t over tp under sequence parallelism. */
  readonly rows: number;
  readonly tokens: Int32Array;
  /** i32 [t] on the device. */
  readonly ids: Tensor;
  /** i32 [t], restarting at 0 in every sequence. */
  readonly positions: Int32Array;
  readonly positionIds: Tensor;
  /** Of this rank's rows: i32 [rows]. */
  readonly rowPositions: Int32Array;
  readonly rowPositionIds: Tensor;
  /** u32 [t, 2]: keys that a query attends, queries that attend a key. */
  readonly kvRange: Tensor;
  readonly qRange: Tensor;
  /** Of models that norm heads. */
  readonly headRows?: HeadRows;
  /** Of passes with `train`: what forward and backward do only there. */
  readonly training?: Training;
}

/** Positions in each packed sequence; DataError when one is longer than maxPositions or a token is not in the vocabulary. */
export function positionsOf(
  batch: PackedBatch,
  maxPositions: number,
  vocabSize: number,
): Int32Array {
  const { tokens, cuSeqlens } = batch;
  const positions = new Int32Array(tokens.length);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const begin = cuSeqlens[s]!;
    const end = cuSeqlens[s + 1]!;
    if (end - begin > maxPositions) {
      throw new DataError(
        `sequence ${s} has ${end - begin} tokens, the model's context is ${maxPositions}; truncate it or use a model with a longer one`,
      );
    }
    for (let i = begin; i < end; i++) positions[i] = i - begin;
  }
  for (let i = 0; i < tokens.length; i++) {
    if (!(tokens[i]! >= 0 && tokens[i]! < vocabSize))
      throw new DataError(
        `token id ${tokens[i]!} at packed index ${i} is outside the vocabulary of ${vocabSize}`,
      );
  }
  return positions;
}

/** The first of the keys that the query of position `i` attends, i itself being the last. */
export function windowBegin(i: number, window = Infinity): number {
  return Math.max(0, i + 1 - window);
}

/**
 * Causal ranges: query i of a sequence attends its keys 0…i, of which a window leaves the last `window`. So key j is
 * attended by queries j…end, or j…j + window − 1.
 */
export function causalRanges(
  cuSeqlens: Int32Array,
  window = Infinity,
): { kvRange: Uint32Array; qRange: Uint32Array } {
  const t = cuSeqlens[cuSeqlens.length - 1]!;
  const kvRange = new Uint32Array(2 * t);
  const qRange = new Uint32Array(2 * t);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const begin = cuSeqlens[s]!;
    const end = cuSeqlens[s + 1]!;
    for (let i = begin; i < end; i++) {
      kvRange[2 * i] = begin + windowBegin(i - begin, window);
      kvRange[2 * i + 1] = i + 1;
      qRange[2 * i] = i;
      qRange[2 * i + 1] = Math.min(end, i + window);
    }
  }
  return { kvRange, qRange };
}

/** A batch with a last sequence of zeros that makes its length a multiple of `multiple`; itself if it is one. */
function padBatch(batch: PackedBatch, multiple: number): PackedBatch {
  const t = batch.tokens.length;
  const padded = Math.ceil(t / multiple) * multiple;
  if (padded === t) return batch;
  const tokens = new Int32Array(padded);
  tokens.set(batch.tokens);
  return { tokens, cuSeqlens: Int32Array.from([...batch.cuSeqlens, padded]) };
}

/** `split`: the residual stream is cut by tokens over tp, for which the batch is padded. */
export function uploadBatch(
  arena: Arena,
  unpadded: PackedBatch,
  shard: Shard,
  split = false,
): BatchTensors {
  const { maxPositions, vocabSize, slidingWindow } = shard.config;
  const parts = split ? shard.groups.tpSize : 1;
  const batch = padBatch(unpadded, parts);
  const positions = positionsOf(batch, maxPositions, vocabSize);
  const { kvRange, qRange } = causalRanges(batch.cuSeqlens, slidingWindow);
  const t = batch.tokens.length;
  const headRows = makeHeadRows(arena, shard, t);
  const rows = t / parts;
  const first = split ? rows * shard.groups.coordinates.tp : 0;
  const rowPositions = positions.slice(first, first + rows);
  const positionIds = arena.fromHost(positions, [t], 'i32');
  return {
    t,
    nTokens: unpadded.tokens.length,
    rows,
    rowPositions,
    rowPositionIds: split ? arena.fromHost(rowPositions, [rows], 'i32') : positionIds,
    tokens: batch.tokens,
    positions,
    ids: arena.fromHost(batch.tokens, [t], 'i32'),
    positionIds,
    kvRange: arena.fromHost(kvRange, [t, 2], 'u32'),
    qRange: arena.fromHost(qRange, [t, 2], 'u32'),
    ...(headRows ? { headRows } : {}),
  };
}
