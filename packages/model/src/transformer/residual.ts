/**
 * How attention and MLP get back into the residual stream: projection, sum over tensor-parallel ranks (a reduce-scatter
 * under sequence parallelism), dropout, and the addition.
 */
import type { Arena, Ops, Tensor } from '@realhf/api';

import type { Shard } from './shard.js';
import { noiseStream, rowDropout, type Training } from './training.js';

/** Named by its projection. */
export type ResidualSite = 'attn.o' | 'mlp.down';

export class Residual {
  private readonly shard: Shard;
  private readonly ops: Ops;
  private readonly layer: number;

  constructor(shard: Shard, layer: number) {
    this.shard = shard;
    this.ops = shard.ops;
    this.layer = layer;
  }

  /** out = x + f(…)·Wᵀ: on one device in one product, with tensor parallelism through a sum over the ranks. */
  async project(
    x: Tensor,
    inner: Tensor,
    site: ResidualSite,
    out: Tensor,
    training?: Training,
  ): Promise<void> {
    const name = `${this.layer}.${site}`;
    if (this.shard.groups.tpSize === 1 && !this.dropout(site, training)) {
      this.shard.linear(inner, name, out, { addend: x });
      return;
    }
    const tokens = inner.shape[0]!;
    const partial = tokens === x.shape[0] ? out : this.ops.empty([tokens, x.shape[1]!]);
    this.shard.linear(inner, name, partial, { rowParallel: true });
    await this.add(x, partial, site, out, training);
  }

  /** out = x + Σ over ranks of `partial` (which is out, or a tensor of all tokens that is freed). */
  async add(
    x: Tensor,
    partial: Tensor,
    site: ResidualSite,
    out: Tensor,
    training?: Training,
  ): Promise<void> {
    await this.shard.sumTokens(partial, out);
    if (partial !== out) this.ops.free(partial);
    this.dropout(site, training)?.(out, out);
    this.ops.add(out, x, out);
  }

  /** The gradient of what was added; dx itself where nothing is dropped. */
  gradient(a: Arena, dx: Tensor, site: ResidualSite, training?: Training): Tensor {
    const dropout = this.dropout(site, training);
    if (!dropout) return dx;
    const out = a.empty(dx.shape);
    dropout(dx, out);
    return out;
  }

  private dropout(site: ResidualSite, training: Training | undefined) {
    const stream = noiseStream(this.layer, site === 'attn.o' ? 'attention' : 'mlp');
    return rowDropout(this.ops, training, this.shard.config.residDropout, stream);
  }
}
