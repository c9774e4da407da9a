/**
 * One transformer block on packed tokens: x += attn(norm x); x += mlp(norm x). Cut at the two all-reduces of
 * tensor parallelism (Megatron-LM, arXiv 1909.08053), which are nothing on one device. With sequence parallelism
 * (arXiv 2205.05198) x has this rank's rows only: gathered before the projections, reduce-scattered after them.
 * `forward` returns a new residual stream and leaves its input alone, so a checkpointed block keeps only x.
 */
import { Arena, type Ops, type Strided, type Tensor } from '@realhf/api';

import type { BatchTensors } from './batch.js';
import {
  headsView,
  makeQkNormed,
  normHeads,
  normHeadsBackward,
  type HeadRows,
  type QkNormed,
} from './head-norms.js';
import { Moe, type MoeSaved } from './moe.js';
import { Residual } from './residual.js';
import type { Shard } from './shard.js';
import { noiseStream, type Training } from './training.js';

/** Where keys and values of a block are kept during generation: rows of nKvHeads·headDim. */
export interface KvCache {
  readonly k: Tensor;
  readonly v: Tensor;
}

/** What backward needs of forward. */
export interface BlockSaved {
  readonly x: Tensor;
  readonly stats1: Tensor;
  readonly n1: Tensor;
  readonly qkv: Tensor;
  /** Of models that norm heads. */
  readonly normed: QkNormed | undefined;
  readonly attn: Tensor;
  readonly lse: Tensor;
  readonly x1: Tensor;
  readonly stats2: Tensor;
  readonly n2: Tensor;
  /** Before the activation: [t, 2·inner] (gated) or [t, inner]. */
  readonly pre: Tensor;
  readonly act: Tensor;
  /** Of mixtures of experts, which have nothing in `pre` and `act`. */
  readonly moe: MoeSaved | undefined;
}

export interface QkvViews {
  readonly q: Strided;
  readonly k: Strided;
  readonly v: Strided;
}

export class Block {
  private readonly shard: Shard;
  private readonly ops: Ops;
  private readonly layer: number;
  /** Cosines and sines by position, of models with rotary positions. */
  readonly cosSin: Tensor | undefined;
  private readonly residual: Residual;
  private readonly moe: Moe | undefined;

  /** `layer` from 1; cosSin from rope-table. */
  constructor(shard: Shard, layer: number, cosSin: Tensor | undefined) {
    this.shard = shard;
    this.ops = shard.ops;
    this.layer = layer;
    this.cosSin = cosSin;
    this.residual = new Residual(shard, layer);
    this.moe = shard.config.moe && new Moe(shard, layer, shard.config.moe, this.residual);
  }

  private name(part: string): string {
    return `${this.layer}.${part}`;
  }
  get scale(): number {
    const { attentionScale, scaleAttentionByInverseLayer } = this.shard.config;
    return scaleAttentionByInverseLayer ? attentionScale / this.layer : attentionScale;
  }
  get inner(): number {
    return this.shard.config.intermediateDim / this.shard.groups.tpSize;
  }

  norm(part: 'attn.ln' | 'mlp.ln', x: Tensor, out: Tensor, stats: Tensor): void {
    this.ops.norm({ ...this.normArgs(part, x), out, stats });
  }
  private normArgs(part: string, x: Tensor) {
    const { norm: kind, normEps: eps } = this.shard.config;
    const bias = this.shard.maybe(this.name(`${part}.bias`));
    return {
      x,
      weight: this.shard.w(this.name(`${part}.weight`)),
      kind,
      eps,
      ...(bias ? { bias } : {}),
    };
  }

  /** q, k, v as columns of the fused projection; q and k from elsewhere where their heads are normed. */
  qkvViews(qkv: Tensor, normed?: { readonly q: Tensor; readonly k: Tensor }): QkvViews {
    const { nHeads, nKvHeads } = this.shard.heads;
    const d = this.shard.config.headDim;
    const stride = (nHeads + 2 * nKvHeads) * d;
    return {
      q: normed ? headsView(normed.q, nHeads, d) : { tensor: qkv, offset: 0, stride },
      k: normed ? headsView(normed.k, nKvHeads, d) : { tensor: qkv, offset: nHeads * d, stride },
      v: { tensor: qkv, offset: (nHeads + nKvHeads) * d, stride },
    };
  }
  get qkvWidth(): number {
    const { nHeads, nKvHeads } = this.shard.heads;
    return (nHeads + 2 * nKvHeads) * this.shard.config.headDim;
  }
  get attnWidth(): number {
    return this.shard.heads.nHeads * this.shard.config.headDim;
  }

  /** norm, projection, norms of heads and rotation; `positions` as in Ops.rope. The result is where the views say. */
  project(
    x: Tensor,
    n1: Tensor,
    stats1: Tensor,
    qkv: Tensor,
    positions: { tensor: Tensor; stride?: number; offset?: number },
    heads: { readonly headRows?: HeadRows; readonly normed?: QkNormed | undefined } = {},
  ): QkvViews {
    this.norm('attn.ln', x, n1, stats1);
    return this.projectNormed(n1, qkv, positions, heads);
  }
  private projectNormed(
    n1: Tensor,
    qkv: Tensor,
    positions: { tensor: Tensor; stride?: number; offset?: number },
    heads: { readonly headRows?: HeadRows; readonly normed?: QkNormed | undefined },
  ): QkvViews {
    this.shard.linear(n1, this.name('attn.qkv'), qkv);
    const { headRows, normed } = heads;
    if (headRows && normed) normHeads(this.shard, this.layer, qkv, headRows, normed);
    const views = this.qkvViews(qkv, normed && { q: normed.q.out, k: normed.k.out });
    this.rope(views, n1.shape[0]!, positions, false);
    return views;
  }
  private rope(
    { q, k }: QkvViews,
    rows: number,
    positions: { tensor: Tensor; stride?: number; offset?: number },
    inverse: boolean,
  ): void {
    if (!this.cosSin) return;
    const { headDim } = this.shard.config;
    const common = {
      rows,
      headDim,
      rotaryDim: headDim,
      positions: positions.tensor,
      positionStride: positions.stride ?? 1,
      positionOffset: positions.offset ?? 0,
      cosSin: this.cosSin,
      inverse,
    };
    const { nHeads, nKvHeads } = this.shard.heads;
    // In a fused projection the heads of k follow those of q.
    if (q.tensor === k.tensor && k.offset === q.offset + nHeads * headDim) {
      this.ops.rope({ ...common, x: q, nHeads: nHeads + nKvHeads });
      return;
    }
    this.ops.rope({ ...common, x: q, nHeads });
    this.ops.rope({ ...common, x: k, nHeads: nKvHeads });
  }
  attentionSpec(training?: Training) {
    const { attnDropout: amount } = this.shard.config;
    const keys = training?.keys?.all;
    const stream = noiseStream(this.layer, 'weights');
    const { nHeads, nKvHeads, qHeadOffset, kvHeadOffset, group } = this.shard.heads;
    return {
      nHeads,
      nKvHeads,
      headDim: this.shard.config.headDim,
      scale: this.scale,
      qHeadOffset,
      kvHeadOffset,
      group,
      ...(keys && amount > 0 ? { dropout: { keys, stream, amount } } : {}),
    };
  }

  async attnOutput(x: Tensor, attn: Tensor, x1: Tensor, training?: Training): Promise<void> {
    await this.residual.project(x, attn, 'attn.o', x1, training);
  }

  /** x2 = x1 + mlp(norm x1). */
  async mlp(
    x1: Tensor,
    n2: Tensor,
    stats2: Tensor,
    pre: Tensor,
    act: Tensor,
    x2: Tensor,
    training?: Training,
  ): Promise<void> {
    const { mlp, activation } = this.shard.config;
    this.norm('mlp.ln', x1, n2, stats2);
    const work = new Arena(this.ops);
    if (this.moe) {
      const rows = x1.shape[0]!;
      await this.moe.addTo(x1, work, n2, x2, { t: rows, nTokens: rows });
      work.release();
      return;
    }
    const input = await this.shard.allTokens(work, n2, act.shape[0]!);
    if (mlp === 'gated') {
      this.shard.linear(input, this.name('mlp.gate_up'), pre);
      this.ops.gatedActivation(activation, pre, act);
    } else {
      this.shard.linear(input, this.name('mlp.fc'), pre);
      this.ops.activation(activation, pre, act);
    }
    work.release();
    await this.residual.project(x1, act, 'mlp.down', x2, training);
  }
  get preWidth(): number {
    if (this.moe) return 0;
    return this.shard.config.mlp === 'gated' ? 2 * this.inner : this.inner;
  }

  /**
   * x [rows, hidden] → a new [rows, hidden], made in `out`. With `cache`, keys and values also go to its rows `cacheRows`
   * (u32 [t]). Tensors of `saved` live in `out` too (train); otherwise they are freed.
   */
  async forward(
    out: Arena,
    x: Tensor,
    batch: BatchTensors,
    options: { train: boolean; cache?: KvCache; cacheRows?: Tensor },
  ): Promise<{ x: Tensor; saved?: BlockSaved }> {
    const { t, rows } = batch;
    const h = this.shard.config.hiddenDim;
    const a = options.train ? out : new Arena(this.ops);
    const stats1 = a.empty([rows, 2]);
    const n1 = a.empty([rows, h]);
    const qkv = a.empty([t, this.qkvWidth]);
    const attn = a.empty([t, this.attnWidth]);
    const lse = a.empty([t, this.shard.heads.nHeads]);
    const x1 = a.empty([rows, h]);
    const stats2 = a.empty([rows, 2]);
    const n2 = a.empty([rows, h]);
    const pre = a.empty([t, this.preWidth]);
    const act = a.empty([t, this.moe ? 0 : this.inner]);
    const x2 = out.empty([rows, h]);
    const normed = makeQkNormed(a, this.shard, t);
    const { headRows } = batch;
    this.norm('attn.ln', x, n1, stats1);
    const work = new Arena(this.ops);
    const views = this.projectNormed(
      await this.shard.allTokens(work, n1, t),
      qkv,
      { tensor: batch.positionIds },
      headRows ? { headRows, normed } : {},
    );
    work.release();
    if (options.cache && options.cacheRows) {
      const columns = this.shard.heads.nKvHeads * this.shard.config.headDim;
      this.ops.scatterRows({
        src: views.k,
        index: options.cacheRows,
        rows: t,
        columns,
        dst: options.cache.k,
      });
      this.ops.scatterRows({
        src: views.v,
        index: options.cacheRows,
        rows: t,
        columns,
        dst: options.cache.v,
      });
    }
    this.ops.attention({
      ...views,
      ...this.attentionSpec(batch.training),
      kvRange: batch.kvRange,
      out: attn,
      lse,
      tQ: t,
    });
    const { training } = batch;
    await this.attnOutput(x, attn, x1, training);
    let moe: MoeSaved | undefined;
    if (this.moe) {
      this.norm('mlp.ln', x1, n2, stats2);
      moe = await this.moe.addTo(x1, a, n2, x2, batch);
    } else await this.mlp(x1, n2, stats2, pre, act, x2, training);
    const saved = { x, stats1, n1, qkv, normed, attn, lse, x1, stats2, n2, pre, act, moe };
    if (options.train) return { x: x2, saved };
    a.release();
    return { x: x2 };
  }

  /** dx [rows, hidden] holds d loss / d output and becomes d loss / d input. */
  async backward(saved: BlockSaved, batch: BatchTensors, dx: Tensor): Promise<void> {
    const { t, rows } = batch;
    const { hiddenDim: h } = this.shard.config;
    const a = new Arena(this.ops);
    const dn = a.empty([t, h]);
    const dNorm = rows === t ? dn : a.empty([rows, h]);
    await this.mlpBackward(a, saved, batch, dx, dn);
    await this.shard.sumTokens(dn, dNorm);
    this.normBackward('mlp.ln', saved.x1, saved.stats2, dNorm, dx);

    const dAttn = a.empty([t, this.attnWidth]);
    const dOut1 = await this.shard.allTokens(
      a,
      this.residual.gradient(a, dx, 'attn.o', batch.training),
      t,
    );
    this.shard.linearBackward(saved.attn, this.name('attn.o'), dOut1, dAttn);
    const dqkv = a.empty([t, this.qkvWidth]);
    const { normed } = saved;
    const views = this.qkvViews(saved.qkv, normed && { q: normed.q.out, k: normed.k.out });
    const dNormed = normed && {
      q: a.empty(normed.q.out.shape),
      k: a.empty(normed.k.out.shape),
    };
    const d = this.qkvViews(dqkv, dNormed);
    this.ops.attentionBackward({
      ...views,
      ...this.attentionSpec(batch.training),
      kvRange: batch.kvRange,
      qRange: batch.qRange,
      out: saved.attn,
      lse: saved.lse,
      dOut: dAttn,
      tQ: t,
      tKv: t,
      dq: d.q,
      dk: d.k,
      dv: d.v,
    });
    this.rope(d, t, { tensor: batch.positionIds }, true);
    if (normed && dNormed)
      normHeadsBackward(this.shard, this.layer, normed, batch.headRows!, dNormed, dqkv);
    const n1 = await this.shard.allTokens(a, saved.n1, t);
    this.shard.linearBackward(n1, this.name('attn.qkv'), dqkv, dn);
    await this.shard.sumTokens(dn, dNorm);
    this.normBackward('attn.ln', saved.x, saved.stats1, dNorm, dx);
    a.release();
  }

  /** dx [rows, hidden] → this rank's part of d (norm x1), dn [t, hidden]. */
  private async mlpBackward(
    a: Arena,
    saved: BlockSaved,
    batch: BatchTensors,
    dx: Tensor,
    dn: Tensor,
  ): Promise<void> {
    const { t, training } = batch;
    const { mlp, activation } = this.shard.config;
    const dOut = await this.shard.allTokens(
      a,
      this.residual.gradient(a, dx, 'mlp.down', training),
      t,
    );
    const input = await this.shard.allTokens(a, saved.n2, t);
    if (this.moe && saved.moe) {
      await this.moe.backward(saved.moe, input, dOut, dn, batch);
      return;
    }
    const dAct = a.empty([t, this.inner]);
    this.shard.linearBackward(saved.act, this.name('mlp.down'), dOut, dAct);
    const gated = mlp === 'gated';
    const dPre = gated ? a.empty([t, 2 * this.inner]) : dAct;
    if (gated) this.ops.gatedActivationBackward(activation, saved.pre, dAct, dPre);
    else this.ops.activationBackward(activation, saved.pre, dAct, dPre);
    const name = this.name(gated ? 'mlp.gate_up' : 'mlp.fc');
    this.shard.linearBackward(input, name, dPre, dn);
  }

  private normBackward(part: string, x: Tensor, stats: Tensor, dOut: Tensor, dx: Tensor): void {
    const bias = this.shard.has(this.name(`${part}.bias`))
      ? { dBias: this.shard.vectorGrad(this.name(`${part}.bias`)) }
      : {};
    this.ops.normBackward({
      ...this.normArgs(part, x),
      stats,
      dOut,
      dx,
      dWeight: this.shard.vectorGrad(this.name(`${part}.weight`)),
      ...bias,
      accumulate: true,
    });
  }
}
