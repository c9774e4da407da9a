/**
 * The layers of one pipeline stage for one microbatch of a generation: its KV cache, prefill and decode steps. Stages do
 * not know which sequences have finished: all rows move on by a token a step, and nothing of a finished one is used.
 */
import type { Arena, PackedBatch, Tensor } from '@realhf/api';

import { uploadBatch, windowBegin } from '../transformer/batch.js';
import type { KvCache } from '../transformer/block.js';
import { embed } from '../transformer/embedding.js';
import {
  makeHeadRows,
  makeQkNormed,
  type HeadRows,
  type QkNormed,
} from '../transformer/head-norms.js';
import type { Stage } from '../transformer/stage.js';

/** Per row and decode step k ≥ 1, at entry row·steps + k − 1: where its token stands. */
interface DecodeRows {
  readonly positions: Tensor;
  readonly cacheRows: Tensor;
  /** Pairs. */
  readonly ranges: Tensor;
  readonly steps: number;
}

export class StageDecoder {
  /** Sequences. */
  readonly rows: number;
  /** Tokens to feed, i32 [rows]; on the first stage filled by what is received. */
  readonly tokens: Tensor;
  private readonly model: Stage;
  private readonly arena: Arena;
  private readonly prompts: PackedBatch;
  private readonly cacheLen: number;
  private readonly caches: readonly KvCache[];
  private readonly decodeRows: DecodeRows | undefined;
  private readonly headRows: HeadRows | undefined;
  private readonly normed: QkNormed | undefined;
  private readonly t: Record<'a' | 'b' | 'n' | 'qkv' | 'attn' | 'pre' | 'act' | 'stats', Tensor>;
  private prefilling: Tensor | undefined;

  /** `maxNew` tokens are made at most; everything lives in `arena`. */
  constructor(model: Stage, arena: Arena, prompts: PackedBatch, cacheLen: number, maxNew: number) {
    this.model = model;
    this.arena = arena;
    this.prompts = prompts;
    this.cacheLen = cacheLen;
    const { config, shard, blocks } = model;
    const rows = prompts.cuSeqlens.length - 1;
    this.rows = rows;
    this.tokens = arena.empty([rows], 'i32');
    const make = (width: number, n = rows) => arena.empty([n, width]);
    const kvWidth = shard.heads.nKvHeads * config.headDim;
    this.caches = blocks.map(() => ({
      k: make(kvWidth, rows * cacheLen),
      v: make(kvWidth, rows * cacheLen),
    }));
    this.decodeRows = this.makeDecodeRows(maxNew - 1);
    this.headRows = makeHeadRows(arena, shard, rows);
    this.normed = makeQkNormed(arena, shard, rows);
    const block = blocks[0];
    this.t = {
      a: make(config.hiddenDim),
      b: make(config.hiddenDim),
      n: make(config.hiddenDim),
      qkv: make(block?.qkvWidth ?? 0),
      attn: make(block?.attnWidth ?? 0),
      pre: make(block?.preWidth ?? 0),
      act: make(block?.inner ?? 0),
      stats: make(2),
    };
  }

  private makeDecodeRows(steps: number): DecodeRows | undefined {
    if (steps === 0) return undefined;
    const { rows, cacheLen, arena } = this;
    const { cuSeqlens } = this.prompts;
    const { slidingWindow } = this.model.config;
    const positions = new Uint32Array(rows * steps);
    const cacheRows = new Uint32Array(rows * steps);
    const ranges = new Uint32Array(2 * rows * steps);
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < steps; k++) {
        const at = r * steps + k;
        const position = cuSeqlens[r + 1]! - cuSeqlens[r]! + k;
        positions[at] = position;
        cacheRows[at] = r * cacheLen + position;
        ranges[2 * at] = r * cacheLen + windowBegin(position, slidingWindow);
        ranges[2 * at + 1] = r * cacheLen + position + 1;
      }
    return {
      positions: arena.fromHost(positions, [rows, steps], 'u32'),
      cacheRows: arena.fromHost(cacheRows, [rows, steps], 'u32'),
      ranges: arena.fromHost(ranges, [rows, steps, 2], 'u32'),
      steps,
    };
  }

  /** Where to receive the hidden states for a token's turn: [ΣL, hidden] for the prefill, [rows, hidden] later. */
  input(token: number): Tensor {
    if (token > 0) return this.t.a;
    const { hiddenDim } = this.model.config;
    return (this.prefilling ??= this.arena.empty([this.prompts.tokens.length, hiddenDim]));
  }

  /** Hidden states of this stage's last block, to be sent on before the next call. */
  async run(token: number): Promise<Tensor> {
    return token === 0 ? this.prefill() : this.step(token);
  }

  /** The prefill's output is not used any more. */
  endPrefill(): void {
    if (this.prefilling) this.arena.drop(this.prefilling);
    this.prefilling = undefined;
  }

  private async prefill(): Promise<Tensor> {
    const { model, arena, prompts, cacheLen } = this;
    const { shard } = model;
    const b = uploadBatch(arena, prompts, shard);
    const where = new Uint32Array(b.t);
    for (let r = 0; r < this.rows; r++)
      for (let i = prompts.cuSeqlens[r]!; i < prompts.cuSeqlens[r + 1]!; i++)
        where[i] = r * cacheLen + i - prompts.cuSeqlens[r]!;
    const cacheRows = arena.fromHost(where, [b.t], 'u32');
    let x = this.input(0);
    if (shard.isFirstStage) await embed(shard, b.ids, { tensor: b.positionIds }, x);
    for (const [i, block] of model.blocks.entries()) {
      const out = await block.forward(arena, x, b, {
        train: false,
        cache: this.caches[i]!,
        cacheRows,
      });
      arena.drop(x);
      x = out.x;
    }
    this.prefilling = x;
    return x;
  }

  private async step(token: number): Promise<Tensor> {
    const { model, decodeRows } = this;
    const { ops, shard, config } = model;
    const { a, b, n, qkv, attn, pre, act, stats } = this.t;
    const { steps, positions: all, cacheRows, ranges } = decodeRows!;
    const offset = token - 1;
    const positions = { tensor: all, stride: steps, offset };
    const columns = shard.heads.nKvHeads * config.headDim;
    const heads = this.headRows ? { headRows: this.headRows, normed: this.normed } : {};
    if (shard.isFirstStage) await embed(shard, this.tokens, positions, a);
    for (const [i, block] of model.blocks.entries()) {
      const cache = this.caches[i]!;
      const views = block.project(a, n, stats, qkv, positions, heads);
      const rows = {
        index: cacheRows,
        indexStride: steps,
        indexOffset: offset,
        rows: this.rows,
        columns,
      };
      ops.scatterRows({ ...rows, src: views.k, dst: cache.k });
      ops.scatterRows({ ...rows, src: views.v, dst: cache.v });
      ops.attention({
        ...block.attentionSpec(),
        q: views.q,
        k: { tensor: cache.k, offset: 0, stride: columns },
        v: { tensor: cache.v, offset: 0, stride: columns },
        kvRange: ranges,
        kvRangeStride: 2 * steps,
        kvRangeOffset: 2 * offset,
        out: attn,
        tQ: this.rows,
      });
      await block.attnOutput(a, attn, b);
      await block.mlp(b, n, stats, pre, act, a);
    }
    return a;
  }
}
