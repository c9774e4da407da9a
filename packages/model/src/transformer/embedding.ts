/** Token and learned position embeddings; under tensor parallelism the vocabulary is cut and the rows are summed. */
import { Arena, type Tensor } from '@realhf/api';

import type { BatchTensors } from './batch.js';
import type { Shard } from './shard.js';
import { noiseStream, rowDropout, type Training } from './training.js';

function options(shard: Shard) {
  const rowOffset = shard.groups.coordinates.tp * shard.w('0.wte.weight').shape[0]!;
  return { rowOffset, factor: shard.config.embeddingScale };
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
  ops.embedding(shard.w('0.wte.weight'), ids, partial, options(shard));
  await shard.sumTokens(partial, out);
  if (partial !== out) ops.free(partial);
  const wpe = shard.maybe('0.wpe.weight');
  if (wpe)
    ops.embedding(wpe, positions.tensor, out, {
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
  ops.embeddingBackward(all, batch.tokens, shard.g('0.wte.weight'), options(shard));
  work.release();
  if (shard.has('0.wpe.weight'))
    ops.embeddingBackward(dx, batch.rowPositions, shard.g('0.wpe.weight'));
}
