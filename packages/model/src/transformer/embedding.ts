/** Token and learned position embeddings; under tensor parallelism the vocabulary is cut and the rows are summed. */
import type { Tensor } from '@realhf/api';

import type { BatchTensors } from './batch.js';
import type { Shard } from './shard.js';

function options(shard: Shard) {
  const rowOffset = shard.groups.coordinates.tp * shard.w('0.wte.weight').shape[0]!;
  return { rowOffset, factor: shard.config.embeddingScale };
}

/** out [t, hidden]. `ids` and `positions` may be columns of the decode state. */
export async function embed(
  shard: Shard,
  ids: Tensor,
  positions: { tensor: Tensor; stride?: number; offset?: number },
  out: Tensor,
): Promise<void> {
  const { ops } = shard;
  ops.embedding(shard.w('0.wte.weight'), ids, out, options(shard));
  await shard.allReduce(out);
  const wpe = shard.maybe('0.wpe.weight');
  if (wpe)
    ops.embedding(wpe, positions.tensor, out, {
      accumulate: true,
      idStride: positions.stride ?? 1,
      idOffset: positions.offset ?? 0,
    });
}

export function embedBackward(shard: Shard, batch: BatchTensors, dx: Tensor): void {
  const { ops } = shard;
  ops.embeddingBackward(dx, batch.tokens, shard.g('0.wte.weight'), options(shard));
  if (shard.has('0.wpe.weight'))
    ops.embeddingBackward(dx, batch.positions, shard.g('0.wpe.weight'));
}
