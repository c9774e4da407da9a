/**
 * Tokens of many sequences through all blocks, keys and values in pages: prompt chunks and decode steps alike. Buffers
 * are made once for a number of rows, so a decode step that is recorded again reuses its bind groups.
 */
import { Arena, type PagedKeys, type Tensor } from '@realhf/api';

import { embed } from '../transformer/embedding.js';
import { finalNorm, headName } from '../transformer/final-norm.js';
import { rowsOf, timesTransposed } from '../transformer/row-pieces.js';
import { makeHeadRows, makeQkNormed } from '../transformer/head-norms.js';
import type { Stage } from '../transformer/stage.js';

/** Pools of a layer. */
export type LayerPools = Pick<PagedKeys, 'kPool' | 'vPool'>;

export interface RowsInput {
  /** i32 [rows]. */
  readonly ids: Tensor;
  readonly positions: {
    readonly tensor: Tensor;
    readonly stride?: number;
    readonly offset?: number;
  };
  /** Where the rows' keys go and what they attend to. */
  readonly keys: Omit<PagedKeys, 'kPool' | 'vPool'>;
  /** u32 [rows, 2]: where the rows are whole sequences, the ranges of Ops.attention over the rows themselves. */
  readonly ranges?: Tensor;
}

export class RowsPass {
  readonly rows: number;
  private readonly model: Stage;
  private readonly arena: Arena;
  private readonly t: Record<'a' | 'b' | 'n' | 'qkv' | 'attn' | 'pre' | 'act' | 'stats', Tensor>;
  private readonly heads: Parameters<Stage['blocks'][number]['project']>[5];

  constructor(model: Stage, rows: number) {
    this.model = model;
    this.rows = rows;
    this.arena = new Arena(model.ops);
    const block = model.blocks[0]!;
    const h = model.config.hiddenDim;
    const make = (width: number) => this.arena.empty([rows, width]);
    this.t = {
      a: make(h),
      b: make(h),
      n: make(h),
      qkv: make(block.qkvWidth),
      attn: make(block.attnWidth),
      pre: make(block.preWidth),
      act: make(block.inner),
      stats: make(2),
    };
    const headRows = makeHeadRows(this.arena, model.shard, rows);
    this.heads = headRows ? { headRows, normed: makeQkNormed(this.arena, model.shard, rows) } : {};
  }

  /** Hidden states [rows, hidden] after the last block; overwritten by the next run. */
  async run(input: RowsInput, pools: readonly LayerPools[]): Promise<Tensor> {
    const { ops, shard, config, blocks } = this.model;
    const { a, b, n, qkv, attn, pre, act, stats } = this.t;
    await embed(shard, input.ids, input.positions, a);
    for (const [i, block] of blocks.entries()) {
      const views = block.project(a, n, stats, qkv, input.positions, this.heads);
      const keys = { ...input.keys, ...pools[i]! };
      ops.writePages({ k: views.k, v: views.v, keys, count: this.rows });
      const spec = { ...block.attentionSpec(), q: views.q, out: attn, tQ: this.rows };
      if (input.ranges) ops.attention({ ...spec, k: views.k, v: views.v, kvRange: input.ranges });
      else
        ops.pagedAttention({
          ...spec,
          keys,
          ...(config.slidingWindow === undefined ? {} : { window: config.slidingWindow }),
        });
      await block.attnOutput(a, attn, b);
      await block.mlp(b, n, stats, pre, act, a);
    }
    return a;
  }

  free(): void {
    this.arena.release();
  }
}

/** Logits [rows, vocab] in a new tensor from hidden states [rows, hidden] after the last block, which are left alone. */
export async function logitsOf(model: Stage, hidden: Tensor): Promise<Tensor> {
  const { ops, shard } = model;
  const rows = hidden.shape[0]!;
  const normed = ops.empty(hidden.shape);
  const stats = ops.empty([rows, 2]);
  finalNorm(shard, hidden, normed, stats);
  const w = shard.pieces(headName(shard));
  const local = ops.empty([rows, rowsOf(w)]);
  timesTransposed(ops, normed, w, local);
  ops.free(normed, stats);
  const logits = await shard.allLogits(local);
  if (logits !== local) ops.free(local);
  return logits;
}
