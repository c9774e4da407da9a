/**
 * The adapter's part of a linear layer, forward and backward, on the products that the layer itself uses. Where a fused
 * weight has several targets, their Bs are spread into one block-diagonal matrix [out, targets·r], so that one product
 * serves all; the gradient is gathered from its blocks. Under tensor parallelism a rank's parts add up as the layer's do.
 */
import { Arena, type ModelConfig, type Ops, type Tensor } from '@realhf/api';

import { loraScale, loraSites, type LoraConfig } from './config.js';

/** Parameters and gradients by name. */
interface AdapterStore {
  readonly config: ModelConfig;
  readonly ops: Ops;
  maybe(name: string): Tensor | undefined;
  w(name: string): Tensor;
  g(name: string): Tensor;
}

/** How a rank's B [rows, r] lies in the block-diagonal matrix; lists are those of Ops.copyBlocks. */
interface Spread {
  readonly rows: number;
  readonly total: number;
  readonly there: Tensor;
  readonly back: Tensor;
}

export class Adapter {
  readonly lora: LoraConfig;
  private readonly store: AdapterStore;
  private readonly scale: number;
  private readonly spreads: ReadonlyMap<string, Spread>;

  /** `localRows`: rows of each part of a site on this rank, in the order of the site's parts. */
  constructor(
    store: AdapterStore,
    lora: LoraConfig,
    localRows: (site: string) => readonly number[],
  ) {
    this.store = store;
    this.lora = lora;
    this.scale = loraScale(lora);
    const spreads = new Map<string, Spread>();
    for (const { name, parts, adapted } of loraSites(store.config, lora)) {
      if (parts.length === 1) continue;
      const rows = localRows(name);
      const of = parts.map((p, i) => ({ index: adapted.indexOf(p.target), rows: rows[i]! }));
      spreads.set(name, makeSpread(store.ops, lora.rank, adapted.length, of));
    }
    this.spreads = spreads;
  }

  /** out += s·(x·Aᵀ)·Bᵀ; nothing where `name` (`3.attn.qkv`) has no adapter. */
  addTo(name: string, x: Tensor, out: Tensor): void {
    const a = this.store.maybe(`${name}.lora_a`);
    if (!a) return;
    const { ops } = this.store;
    const work = new Arena(ops);
    const inner = this.inner(work, x, a);
    const b = this.whole(work, name, a.shape[0]!);
    ops.matmul({ a: inner, b, out, transB: true, accumulate: true });
    work.release();
  }

  /** dx += s·(dy·B)·A (when asked for), dA += s·(dy·B)ᵀ·x, dB += s·dyᵀ·(x·Aᵀ). */
  backward(name: string, x: Tensor, dy: Tensor, dx?: Tensor): void {
    const { store } = this;
    const { ops } = store;
    const a = store.maybe(`${name}.lora_a`);
    if (!a) return;
    const work = new Arena(ops);
    const width = a.shape[0]!;
    const b = this.whole(work, name, width);
    const dInner = work.empty([dy.shape[0]!, width]);
    ops.matmul({ a: dy, b, out: dInner });
    ops.scale(dInner, this.scale, dInner);
    if (dx) ops.matmul({ a: dInner, b: a, out: dx, accumulate: true });
    const dA = store.g(`${name}.lora_a`);
    ops.matmul({ a: dInner, b: x, out: dA, transA: true, accumulate: true });

    const inner = this.inner(work, x, a);
    const dB = store.g(`${name}.lora_b`);
    const spread = this.spread(name);
    if (!spread) {
      ops.matmul({ a: dy, b: inner, out: dB, transA: true, accumulate: true });
    } else {
      const dWhole = work.empty([spread.rows, width]);
      ops.matmul({ a: dy, b: inner, out: dWhole, transA: true });
      const mine = work.zeros(dB.shape);
      ops.copyBlocks({ src: dWhole, blocks: spread.back, total: spread.total, dst: mine });
      ops.add(dB, mine, dB);
    }
    work.release();
  }

  free(): void {
    for (const { there, back } of this.spreads.values()) this.store.ops.free(there, back);
  }

  /** s·x·Aᵀ [rows, targets·r]. */
  private inner(work: Arena, x: Tensor, a: Tensor): Tensor {
    const { ops } = this.store;
    const out = work.empty([x.shape[0]!, a.shape[0]!]);
    ops.matmul({ a: x, b: a, out, transB: true });
    ops.scale(out, this.scale, out);
    return out;
  }

  private spread(name: string): Spread | undefined {
    return this.spreads.get(name.slice(name.indexOf('.') + 1));
  }

  /** B [out, targets·r]. */
  private whole(work: Arena, name: string, width: number): Tensor {
    const b = this.store.w(`${name}.lora_b`);
    const spread = this.spread(name);
    if (!spread) return b;
    const out = work.zeros([spread.rows, width]);
    const { there: blocks, total } = spread;
    this.store.ops.copyBlocks({ src: b, blocks, total, dst: out });
    return out;
  }
}

/** `index`: which of the As a part has, −1 for none. */
function makeSpread(
  ops: Ops,
  rank: number,
  targets: number,
  parts: readonly { readonly index: number; readonly rows: number }[],
): Spread {
  const there: number[] = [];
  const back: number[] = [];
  const width = targets * rank;
  let total = 0;
  let row = 0;
  for (const { index, rows } of parts) {
    if (index >= 0) {
      const wide = row * width + index * rank;
      there.push(total, row * rank, wide, rank, rank, width);
      back.push(total, wide, row * rank, rank, width, rank);
      total += rows * rank;
    }
    row += rows;
  }
  const upload = (list: number[]) =>
    ops.fromHost(Uint32Array.from(list), [list.length / 6, 6], 'u32');
  return { rows: row, total, there: upload(there), back: upload(back) };
}
