/** Token and learned position embeddings; under tensor parallelism the vocabulary is cut and the rows are summed. */
import { Arena, type Tensor } from '@realhf/api';

import type { BatchTensors } from './batch.js';
import type { Shard } from './shard.js';
import { noiseStream, rowDropout, type Training } from './training.js';

function options(shard: Shard, row: number) {
  const { offset } = shard.vocabPiece(shard.pieces('0.wte.weight'));
  return { rowOffset: offset + row, factor: shard.config.embeddingScale };
}

/**
 * out [t, hidden], or this rank's rows of it under sequence parallelism. `ids` of all tokens, `positions` of
 * the rows of `out`; they may be columns of the decode state.
 */
export async function embed(
  shard: Shard,
  ids: Tensor,
  positions: { tensor: Tensor; stride?: number; offset?: number },
  out: Tensor,
  training?: Training,
): Promise<void> {
  const { ops } = shard;
  const [rows, h] = [out.shape[0]!, out.shape[1]!];
  const partial = rows === ids.size ? out : ops.empty([ids.size, h]);
  // A row is in one piece: the others add zero.
  for (const { row, tensor } of shard.pieces('0.wte.weight'))
    ops.embedding(tensor, ids, partial, { ...options(shard, row), accumulate: row > 0 });
  await shard.sumTokens(partial, out);
  if (partial !== out) ops.free(partial);
  const wpe = shard.has('0.wpe.weight') ? shard.pieces('0.wpe.weight') : [];
  for (const { row, tensor } of wpe)
    ops.embedding(tensor, positions.tensor, out, {
      rowOffset: row,
      accumulate: true,
      idStride: positions.stride ?? 1,
      idOffset: positions.offset ?? 0,
    });
  dropout(shard, training)?.(out, out);
}

function dropout(shard: Shard, training: Training | undefined) {
  return rowDropout(shard.ops, training, shard.config.embdDropout, noiseStream(0, 'embedding'));
}

/** dx [rows, hidden] of this rank's rows; it is overwritten. */
export async function embedBackward(shard: Shard, batch: BatchTensors, dx: Tensor): Promise<void> {
  const { ops } = shard;
  if (!shard.trains('0.wte.weight')) return;
  dropout(shard, batch.training)?.(dx, dx);
  const work = new Arena(ops);
  const all = await shard.allTokens(work, dx, batch.t);
  for (const { row, tensor } of shard.gradPieces('0.wte.weight'))
    ops.embeddingBackward(all, batch.tokens, tensor, options(shard, row));
  work.release();
  if (!shard.has('0.wpe.weight')) return;
  for (const { row, tensor } of shard.gradPieces('0.wpe.weight'))
    ops.embeddingBackward(dx, batch.rowPositions, tensor, { rowOffset: row });
}
