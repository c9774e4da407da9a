/**
 * A decode step in five kernels a layer: [norm, q k v, rotation, pages], [attention], [projection, residual],
 * [norm, gate and up, activation], [projection, residual]. A norm's 1/σ is put to the product's sums instead of its
 * operand, so no kernel is needed for it. For GPUs with f16 matrices; a row's bits depend on nothing but that row.
 */
import {
  DeviceError,
  type DecodeModel,
  type Decoder,
  type DecodeLayer,
  type DecodeStep,
  type Tensor,
} from '@realhf/api';

import { deviceTensor } from '../../webgpu/device-tensor.js';
import { grid1d, type Constants } from '../../webgpu/kernel.js';
import type { Prepared } from '../../webgpu/pipelines.js';
import type { Recorder } from '../../webgpu/recorder.js';
import {
  attentionKernel,
  decodeTiles,
  embedKernel,
  gatedKernel,
  logitsKernel,
  packKernel,
  productKinds,
  qkvKernel,
  residualKernel,
  type ProductName,
} from './decode-kernels.js';

const kinds: Readonly<Record<string, number>> = { gelu_tanh: 1, silu: 2, relu: 3 };
/** Lists of prepared dispatches that are kept: one for each number of rows and set of tensors. */
const keptLists = 8;

/** A decoder, where this device and this model can have one. */
export function makeDecoder(r: Recorder, model: DecodeModel): Decoder | undefined {
  const { headDim, nHeads, nKvHeads, layers } = model;
  const layer = layers[0];
  if (!layer || !r.fusedDecode) return undefined;
  const group = nHeads / nKvHeads;
  const [hidden, inner] = [layer.o.shape[0]!, layer.down.shape[1]!];
  const fits =
    (headDim === 64 || headDim === 128) &&
    Number.isInteger(group) &&
    group <= 8 &&
    hidden % 256 === 0 &&
    inner % 256 === 0 &&
    (nHeads * headDim) % 256 === 0 &&
    model.activation in kinds &&
    r.device.limits.maxStorageBuffersPerShaderStage >= 10 &&
    r.device.limits.maxComputeInvocationsPerWorkgroup >= 512 &&
    r.device.limits.maxComputeWorkgroupStorageSize >= 49152;
  return fits ? new FusedDecoder(r, model, hidden, inner) : undefined;
}

interface Packed {
  readonly source: Tensor;
  readonly tensor: Tensor;
  version: number;
}
interface PackedLayer {
  readonly qkv: Packed;
  readonly o: Packed;
  readonly gateUp: Packed;
  readonly down: Packed;
}
interface Kept {
  readonly key: string;
  readonly list: readonly Prepared[];
  readonly uniforms: GPUBuffer;
}

class FusedDecoder implements Decoder {
  private readonly owned: Tensor[] = [];
  private readonly packed: Packed[] = [];
  private readonly layers: readonly PackedLayer[];
  private readonly head: Packed;
  private readonly t: Record<'x' | 'n' | 'q' | 'attn' | 'act' | 'squares' | 'logits', Tensor>;
  private kept: Kept[] = [];
  private readonly r: Recorder;
  private readonly model: DecodeModel;
  private readonly hidden: number;
  private readonly inner: number;

  constructor(r: Recorder, model: DecodeModel, hidden: number, inner: number) {
    this.r = r;
    this.model = model;
    this.hidden = hidden;
    this.inner = inner;
    const { maxRows, nHeads, headDim } = model;
    // Whole runs of 64 rows: what is beyond the last row is read, too.
    const padded = Math.ceil(maxRows / 64) * 64;
    const make = (rows: number, width: number, dtype: 'f32' | 'f16' = 'f32') => {
      const t = r.alloc([rows, width], dtype);
      this.owned.push(t);
      return t;
    };
    this.t = {
      x: make(maxRows, hidden),
      n: make(padded, hidden, 'f16'),
      q: make(maxRows, nHeads * headDim),
      attn: make(padded, nHeads * headDim, 'f16'),
      act: make(padded, inner, 'f16'),
      squares: make(maxRows, hidden / (16 * decodeTiles.residual.TN)),
      logits: make(maxRows, model.head.shape[0]!),
    };
    this.layers = model.layers.map((l) => ({
      qkv: this.pack(l.qkv),
      o: this.pack(l.o),
      gateUp: this.pack(l.gateUp),
      down: this.pack(l.down),
    }));
    this.head = this.pack(model.head);
  }

  private pack(source: Tensor): Packed {
    const [n = 0, k = 0] = source.shape;
    const tensor = this.r.alloc([Math.ceil(n / 64) * 64, k], 'f16');
    this.owned.push(tensor);
    const packed = { source, tensor, version: -1 };
    this.packed.push(packed);
    return packed;
  }

  /** Weights in octets are made anew where they were written since. */
  private refresh(): void {
    for (const p of this.packed) {
      const { version } = deviceTensor(p.source).buffer;
      if (p.version === version) continue;
      p.version = version;
      const [rows = 0, k = 0] = p.source.shape;
      const padded = p.tensor.shape[0]!;
      const grid = grid1d(Math.ceil((padded * k) / 8 / 256));
      this.r.run(packKernel, noConstants, [p.source, p.tensor], { rows, padded, k }, grid);
    }
  }

  step(step: DecodeStep): Tensor {
    if (step.rows > this.model.maxRows)
      throw new DeviceError(
        `a decode step of ${step.rows} rows, the decoder was made for ${this.model.maxRows}`,
      );
    this.refresh();
    this.r.record(this.listFor(step));
    return this.r.view(this.t.logits, 0, [step.rows, this.model.head.shape[0]!]);
  }

  private listFor(step: DecodeStep): readonly Prepared[] {
    const places = [step.ids, step.state, step.pageTable].map((t) => {
      const { buffer, byteOffset, byteLength } = deviceTensor(t);
      return `${buffer.id}+${byteOffset}:${byteLength}`;
    });
    const key = [step.rows, step.pageSize, step.pageTable.shape[1], ...places].join();
    const at = this.kept.findIndex((k) => k.key === key);
    const found = at >= 0 ? this.kept.splice(at, 1)[0]! : this.prepare(key, step);
    this.kept.push(found);
    if (this.kept.length > keptLists) this.kept.shift()!.uniforms.destroy();
    return found.list;
  }

  private prepare(key: string, step: DecodeStep): Kept {
    const uniforms = this.r.uniformLines(2 + 5 * this.model.layers.length);
    const list: Prepared[] = [];
    const add = (make: (line: { buffer: GPUBuffer; slot: number }) => Prepared) => {
      list.push(make({ buffer: uniforms, slot: list.length }));
    };
    const { r, t, hidden, model } = this;
    const gain = model.norm === 'gemma' ? 1 : 0;
    add((line) =>
      r.prepare(
        line,
        embedKernel,
        noConstants,
        [model.embedding, step.ids, model.layers[0]!.attnNorm, t.x, t.n, t.squares],
        { n: hidden, table_rows: model.embedding.shape[0]!, factor: model.embeddingScale, gain },
        [step.rows, 1, 1],
      ),
    );
    model.layers.forEach((layer, i) => {
      for (const make of this.layerDispatches(step, layer, i)) add(make);
    });
    const vocab = model.head.shape[0]!;
    const { TN } = decodeTiles.logits;
    add((line) =>
      r.prepare(
        line,
        logitsKernel,
        this.constants('logits', step.rows),
        [t.n, this.head.tensor, t.squares, t.logits],
        { ...this.common(step, hidden, vocab), ...plain(TN) },
        [Math.ceil(vocab / 16 / TN), Math.ceil(step.rows / 64), 1],
      ),
    );
    return { key, list, uniforms };
  }

  /** 16, 32 or 64 rows at a time. `more`: the size of a head, or the kind of the activation. */
  private constants(name: ProductName, rows: number, more = 0): Constants {
    const TM = rows <= 16 ? 1 : rows <= 32 ? 2 : 4;
    const own = name === 'qkv' ? { D: more } : name === 'gated' ? { KIND: more } : {};
    return { ...decodeTiles[name], ...productKinds[name], TM, ...own };
  }

  /** Squares come from the embedding for the first layer, else from the workgroups of a projection. */
  private common(step: DecodeStep, k: number, n: number, first = false) {
    const parts = first ? 1 : this.hidden / 16 / decodeTiles.residual.TN;
    return { rows: step.rows, k, n, parts, eps: this.model.eps };
  }

  private layerDispatches(step: DecodeStep, layer: DecodeLayer, i: number) {
    const { r, t, model, hidden, inner } = this;
    const { nHeads, nKvHeads, headDim } = model;
    const packed = this.layers[i]!;
    const down = Math.ceil(step.rows / 64);
    const pages = {
      table_stride: step.pageTable.shape[1]!,
      page_bits: Math.log2(step.pageSize),
    };
    const width = nHeads * headDim;
    const half = decodeTiles.qkv.TN / 2;
    const nextNorm = model.layers[i + 1]?.attnNorm ?? model.finalNorm;
    const project = (from: Tensor, k: number, w: Packed, gains: Tensor) => (line: Line) => {
      const { TN } = decodeTiles.residual;
      return r.prepare(
        line,
        residualKernel,
        this.constants('residual', step.rows),
        // No norm comes before: the squares' binding holds its gains once more.
        [from, w.tensor, gains, gains, t.x, t.n, t.squares],
        {
          ...this.common(step, k, hidden),
          ...plain(TN),
          gain: model.norm === 'gemma' ? 1 : 0,
          parts_out: hidden / 16 / TN,
        },
        [hidden / 16 / TN, down, 1],
      );
    };
    return [
      (line: Line) =>
        r.prepare(
          line,
          qkvKernel,
          this.constants('qkv', step.rows, headDim),
          [
            t.n,
            packed.qkv.tensor,
            t.squares,
            layer.qkvBias ?? model.cosSin,
            model.cosSin,
            step.state,
            step.pageTable,
            t.q,
            layer.kPool,
            layer.vPool,
          ],
          {
            ...this.common(step, hidden, (nHeads + 2 * nKvHeads) * headDim, i === 0),
            per: headDim / 32 / half,
            step: headDim / 16,
            gap: headDim / 32,
            heads: nHeads,
            kv_heads: nKvHeads,
            has_bias: layer.qkvBias ? 1 : 0,
            limit: layer.kPool.size / (nKvHeads * headDim),
            ...pages,
          },
          [((nHeads + 2 * nKvHeads) * headDim) / 16 / decodeTiles.qkv.TN, down, 1],
        ),
      (line: Line) =>
        r.prepare(
          line,
          attentionKernel,
          attentionConstants(headDim, nHeads / nKvHeads),
          [t.q, layer.kPool, layer.vPool, step.state, step.pageTable, t.attn],
          {
            n: width,
            kv_heads: nKvHeads,
            scale: layer.scale * Math.LOG2E,
            window: model.window ?? 0xffffffff,
            ...pages,
          },
          [step.rows * nKvHeads, 1, 1],
        ),
      project(t.attn, width, packed.o, layer.mlpNorm),
      (line: Line) =>
        r.prepare(
          line,
          gatedKernel,
          this.constants('gated', step.rows, kinds[model.activation]),
          [t.n, packed.gateUp.tensor, t.squares, t.act],
          {
            ...this.common(step, hidden, inner),
            per: inner / 16 / (decodeTiles.gated.TN / 2),
            step: 0,
            gap: inner / 16,
          },
          [inner / 8 / decodeTiles.gated.TN, down, 1],
        ),
      project(t.act, inner, packed.down, nextNorm),
    ];
  }

  free(): void {
    for (const t of this.owned) this.r.free(t);
    for (const k of this.kept) k.uniforms.destroy();
    this.kept = [];
  }
}

interface Line {
  readonly buffer: GPUBuffer;
  readonly slot: number;
}
const noConstants: Constants = {};
/** A workgroup makes TN neighbouring panels. */
const plain = (TN: number) => ({ per: 0xffffffff, step: 0, gap: TN });

const attentionConstants = (D: number, G: number): Constants => ({ D, G, HV: Math.ceil(G / 4) });
