/** What one rank of a model holds and how it talks: local sizes, parameter and gradient views, collectives on device tensors. */
import {
  CheckpointError,
  type Arena,
  type Communicator,
  type LocalParam,
  type ModelConfig,
  type Ops,
  type ParallelGroups,
  type Tensor,
  type TensorCommunicator,
} from '@realhf/api';
import { tensorGroup } from '@realhf/comm';

import { Adapter } from '../lora/adapter.js';
import type { LoraConfig } from '../lora/config.js';
import {
  addOuterProduct,
  rowsOf,
  times,
  timesTransposed,
  type RowPiece,
  type RowPieces,
} from './row-pieces.js';

export interface LocalHeads {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly qHeadOffset: number;
  readonly kvHeadOffset: number;
  /** q heads per kv head, globally. */
  readonly group: number;
}

/** The q heads of a tensor-parallel rank, and the kv heads that they need (replicated where nKvHeads does not divide). */
export function localHeads(config: ModelConfig, tp: number, tpSize: number): LocalHeads {
  const group = config.nHeads / config.nKvHeads;
  const nHeads = config.nHeads / tpSize;
  const qHeadOffset = tp * nHeads;
  const kvHeadOffset = Math.floor(qHeadOffset / group);
  const last = Math.floor((qHeadOffset + nHeads - 1) / group);
  return { nHeads, nKvHeads: last - kvHeadOffset + 1, qHeadOffset, kvHeadOffset, group };
}

export class Shard {
  readonly config: ModelConfig;
  readonly ops: Ops;
  readonly groups: ParallelGroups;
  readonly heads: LocalHeads;
  /** Undefined where this rank is alone along that axis. */
  readonly tp: TensorCommunicator | undefined;
  readonly pp: TensorCommunicator | undefined;
  /** Of a model whose weights are frozen and that only an adapter changes. */
  readonly adapter: Adapter | undefined;
  private readonly weights = new Map<string, RowPiece[]>();
  private readonly grads = new Map<string, RowPiece[]>();
  private readonly unused = new Map<string, Tensor>();

  constructor(config: ModelConfig, ops: Ops, groups: ParallelGroups, lora?: LoraConfig) {
    this.config = config;
    this.ops = ops;
    this.groups = groups;
    this.heads = localHeads(config, groups.coordinates.tp, groups.tpSize);
    this.tp = tensorGroup(groups, 'tp', ops);
    this.pp = tensorGroup(groups, 'pp', ops);
    this.adapter = lora && new Adapter(this, lora, (site) => this.siteRows(site));
  }

  /** Rows on this rank of each target of a weight, in their order. */
  private siteRows(site: string): number[] {
    const { nHeads, nKvHeads } = this.heads;
    const { headDim, intermediateDim } = this.config;
    if (site === 'attn.qkv') return [nHeads, nKvHeads, nKvHeads].map((n) => n * headDim);
    const inner = intermediateDim / this.groups.tpSize;
    return [inner, inner];
  }

  bind(
    locals: readonly LocalParam[],
    segments: readonly Tensor[],
    into: 'weights' | 'grads',
  ): void {
    for (const { spec, row, segment, offset, shape } of locals) {
      const piece = { row, tensor: this.ops.view(segments[segment]!, offset, shape) };
      if (row === 0) this[into].set(spec.name, [piece]);
      else this[into].get(spec.name)!.push(piece);
    }
  }

  /** Forgets all parameters and gradients. */
  unbind(): void {
    this.weights.clear();
    this.grads.clear();
    this.ops.free(...this.unused.values());
    this.unused.clear();
  }

  /** Whether the gradient of a parameter is wanted: with an adapter only of what it brings. */
  trains(name: string): boolean {
    return !this.adapter || this.grads.has(name);
  }

  has(name: string): boolean {
    return this.weights.has(name);
  }
  /** A matrix, in as many pieces as it has; CheckpointError if this rank does not hold it. */
  pieces(name: string): RowPieces {
    const pieces = this.weights.get(name);
    if (!pieces) throw new CheckpointError(`this rank holds no parameter '${name}'`);
    return pieces;
  }
  /** Its gradient, which accumulates. */
  gradPieces(name: string): RowPieces {
    const pieces = this.grads.get(name);
    if (!pieces) throw new CheckpointError(`no gradient for '${name}': it is not trained here`);
    return pieces;
  }
  /** A parameter that is never cut by rows (vectors, adapters, routers). */
  w(name: string): Tensor {
    return whole(name, this.pieces(name));
  }
  maybe(name: string): Tensor | undefined {
    return this.has(name) ? this.w(name) : undefined;
  }
  /** The gradient of such a parameter. */
  g(name: string): Tensor {
    return whole(name, this.gradPieces(name));
  }
  /** The gradient of a vector whose op computes it in any case: memory that nobody reads where it is frozen. */
  vectorGrad(name: string): Tensor {
    if (this.trains(name)) return this.g(name);
    const t = this.unused.get(name) ?? this.ops.zeros(this.w(name).shape);
    this.unused.set(name, t);
    return t;
  }

  get isFirstTp(): boolean {
    return this.groups.coordinates.tp === 0;
  }
  get isFirstStage(): boolean {
    return this.groups.coordinates.pp === 0;
  }
  get isLastStage(): boolean {
    return this.groups.coordinates.pp === this.groups.ppSize - 1;
  }

  /** y = x·Wᵀ + b (+ addend, which is not y); a bias that is replicated over tp is added by one rank only. */
  linear(
    x: Tensor,
    name: string,
    out: Tensor,
    options: { rowParallel?: boolean; addend?: Tensor } = {},
  ): void {
    const bias = options.rowParallel && !this.isFirstTp ? undefined : this.maybe(`${name}.bias`);
    timesTransposed(this.ops, x, this.pieces(`${name}.weight`), out, {
      ...(bias ? { bias } : {}),
      ...(options.addend ? { addend: options.addend } : {}),
    });
    this.adapter?.addTo(name, x, out);
  }
  /** dx = dy·W (when asked for), dW += dyᵀ·x, db += Σ dy of what is trained. */
  linearBackward(x: Tensor, name: string, dy: Tensor, dx?: Tensor): void {
    if (dx) times(this.ops, dy, this.pieces(`${name}.weight`), dx);
    this.adapter?.backward(name, x, dy, dx);
    this.weightGrad(`${name}.weight`, dy, x);
    const bias = `${name}.bias`;
    if (this.has(bias) && this.trains(bias)) this.ops.biasBackward(dy, this.g(bias));
  }
  /** dW += dyᵀ·x of a weight that is trained. */
  weightGrad(name: string, dy: Tensor, x: Tensor): void {
    if (this.trains(name)) addOuterProduct(this.ops, dy, x, this.gradPieces(name));
  }

  /** Sum over the tensor-parallel group, in place; nothing with one rank. */
  async allReduce(t: Tensor): Promise<void> {
    await this.tp?.allReduce(t);
  }

  /** Whether activations between the parallel layers are cut by tokens (sequence parallelism). */
  get splitsTokens(): boolean {
    return this.groups.sequenceParallel === true && this.tp !== undefined;
  }
  /** All `tokens` rows of a matrix that is cut by tokens, made in `arena`; x itself where it is whole. */
  async allTokens(arena: Arena, x: Tensor, tokens: number): Promise<Tensor> {
    if (x.shape[0] === tokens || !this.tp) return x;
    const all = arena.empty([tokens, x.shape[1]!]);
    await this.tp.allGather(x, all);
    return all;
  }
  /** Sum over the tensor-parallel group of `partial` [tokens, width] → `out`: all of it (which may be `partial`), or this rank's rows. */
  async sumTokens(partial: Tensor, out: Tensor): Promise<void> {
    if (partial === out || !this.tp) await this.allReduce(out);
    else await this.tp.reduceScatter(partial, out);
  }

  /** Rows of this rank's piece of the vocabulary, its first token, and how many of its rows are tokens: the last pieces may be padded. */
  vocabPiece(table: RowPieces): { offset: number; rows: number; valid: number } {
    const rows = rowsOf(table);
    const offset = this.groups.coordinates.tp * rows;
    return { offset, rows, valid: Math.min(rows, this.config.vocabSize - offset) };
  }
  /** Logits [rows, vocab] in a new tensor from those of all vocabulary pieces [rows, piece]; `local` itself where it is whole. */
  async allLogits(local: Tensor): Promise<Tensor> {
    if (!this.tp) return local;
    const { ops, tp } = this;
    const [rows, piece] = [local.shape[0]!, local.shape[1]!];
    const vocab = this.config.vocabSize;
    const pieces = ops.empty([tp.size * rows, piece]);
    await tp.allGather(local, pieces);
    const upload = (n: number, of: (i: number) => number) =>
      ops.fromHost(
        Uint32Array.from({ length: n }, (_, i) => of(i)),
        [n],
        'u32',
      );
    const lines = upload(rows * tp.size, (i) => (i % tp.size) * rows + Math.floor(i / tp.size));
    const all = ops.empty([rows, tp.size * piece]);
    ops.gatherRows(pieces, lines, ops.view(all, 0, [rows * tp.size, piece]));
    ops.free(pieces, lines);
    if (tp.size * piece === vocab) return all;
    const index = upload(rows, (i) => i);
    const cropped = ops.empty([rows, vocab]);
    const src = { tensor: all, offset: 0, stride: tp.size * piece };
    ops.scatterRows({ src, index, rows, columns: vocab, dst: cropped });
    ops.free(all, index);
    return cropped;
  }
}

function whole(name: string, pieces: RowPieces): Tensor {
  if (pieces.length > 1)
    throw new CheckpointError(
      `parameter '${name}' is in ${pieces.length} pieces and was asked for as one tensor`,
    );
  return pieces[0]!.tensor;
}

/** A matrix cut into equal column blocks over a group, the last ones padded, put together on every rank: [rows, total]. */
export async function gatherColumns(
  comm: Communicator,
  local: Float32Array,
  rows: number,
  total: number,
): Promise<Float32Array> {
  const all = new Float32Array(local.length * comm.size);
  await comm.allGather(local, all);
  const columns = local.length / rows;
  const out = new Float32Array(rows * total);
  for (let r = 0; r < comm.size; r++) {
    const width = Math.min(columns, total - r * columns);
    for (let i = 0; i < rows; i++) {
      const from = r * local.length + i * columns;
      out.set(all.subarray(from, from + width), i * total + r * columns);
    }
  }
  return out;
}
