/**
 * Ops: what a model may ask of a device. Every method only *records* work (many dispatches share a pass);
 * `flush` submits it and `read` submits and waits. Forward and backward of an op stand side by side.
 * Contract: parameter gradients accumulate (`+=`), activation gradients overwrite, unless a flag says otherwise.
 * Every reduction has a fixed order, so a rerun on the same adapter is bit-equal, and a row's result does not
 * depend on how many other rows are in the batch.
 */
import type { Activation } from './activation.js';
import type {
  AttentionArgs,
  AttentionBackwardArgs,
  PagedAttentionArgs,
  PagedKeys,
} from './attention-args.js';
import type { Decoder, DecodeModel } from './decode.js';
import type { MoeOps } from './moe-ops.js';
import type { DType, HostArray, Strided, Tensor } from './tensor.js';

/** A matrix product, with a bias and other ends if asked for. */
export interface MatmulArgs {
  /** [m, k], or [k, m] when `transA`. */
  readonly a: Tensor;
  /** [k, n], or [n, k] when `transB` (the layout of a Linear weight). */
  readonly b: Tensor;
  /** [m, n]. */
  readonly out: Tensor;
  readonly transA?: boolean;
  readonly transB?: boolean;
  /** [n], added to every row. */
  readonly bias?: Tensor;
  /** out += a·b (parameter gradients, residuals) instead of out = a·b. */
  readonly accumulate?: boolean;
  /** [m, n], added too: out = a·b + addend, without a copy of it (residuals). Not out itself. */
  readonly addend?: Tensor;
}

/** Log-probabilities of labels under softmax(logits / temperature restricted to kept tokens). */
export interface LogProbArgs {
  /** [rows, vocab]. */
  readonly logits: Tensor;
  /** i32 [rows]; a negative label (not on this vocab shard, or none) yields logProb 0; its row's gradient keeps −dLogProb·p, which a vocab shard needs. */
  readonly labels: Tensor;
  readonly temperature: number;
  /** u32 [rows, ⌈vocab/32⌉] bitmask, bit set = token kept; absent = all kept. */
  readonly mask?: Tensor;
  /** Columns that exist; logits at or beyond are ignored (padded vocabularies). Default vocab. */
  readonly validVocab?: number;
}

/** From hidden states or logits to log-probs of labels. */
export interface LogProbForwardArgs extends LogProbArgs {
  /** [rows]. */
  readonly logProbs: Tensor;
  /** [rows]: log-sum-exp, kept for backward. */
  readonly lse: Tensor;
  /** [rows]: entropy in nats. */
  readonly entropy?: Tensor;
}

/** From gradients of log-probs back. */
export interface LogProbBackwardArgs extends LogProbArgs {
  readonly lse: Tensor;
  /** [rows]: d loss / d logProb. */
  readonly dLogProbs: Tensor;
  /** [rows]: d loss / d entropy, needs `entropy`. */
  readonly dEntropy?: Tensor;
  readonly entropy?: Tensor;
  /** [rows, vocab]; may be `logits` itself (in place). */
  readonly dLogits: Tensor;
}

/** Draws a token per row of logits. */
export interface SampleArgs {
  /** [rows, vocab]; may be overwritten. */
  readonly logits: Tensor;
  readonly greedy: boolean;
  readonly temperature: number;
  /** 0 < topP ≤ 1; topK > 0. The kept set is the intersection of both (reference: union of the removals), ties kept. */
  readonly topP: number;
  readonly topK: number;
  /** EOS is masked while step[row] < minNewTokens. −1: no EOS. */
  readonly eosTokenId: number;
  readonly padTokenId: number;
  readonly minNewTokens: number;
  readonly validVocab?: number;
  /** u32 [rows]: generator key per row; with the row's step it decides the draw (counter based). */
  readonly seeds: Tensor;
  /**
   * u32 [rows, 5] in and out, the row's decode state: 0 = step (tokens sampled so far), 1 = finished (0/1),
   * 2 = position of the token to feed, 3 = first row of its KV cache, 4 = the row after its last. Unfinished rows:
   * step, position and the last row advance by one.
   */
  readonly state: Tensor;
  /** i32 [rows]: the token sampled, to feed next; PAD on finished rows. */
  readonly tokens: Tensor;
  /** i32 [steps, rows] log of tokens, f32 [steps, rows] of log-probs under the warped distribution; column = row, line = `logStep`. */
  readonly tokenLog: Tensor;
  readonly logProbLog: Tensor;
  /** u32 [steps, rows, ⌈vocab/32⌉] of kept tokens, when the caller needs the mask. */
  readonly maskLog?: Tensor;
  /** Line of the logs to write. */
  readonly logStep: number;
}

/** Words of a row of sampleRows' options. */
export const sampleOptionWords = 16;

/**
 * Sampling where every row has options of its own, as u32 [rows, 16]: 0 seed, 1 1/temperature (f32 bits), 2 top_p (f32),
 * 3 top_k (as f32), 4 flags (1: greedy, 2: filter by top_k and top_p), 5 min_new_tokens, 6 max_new_tokens (0: no limit),
 * 7 n ≤ 8, 8…8+n the ids that finish the row and that min_new_tokens keeps out. A row also finishes at max_new_tokens.
 * `logits` may be overwritten.
 */
export interface SampleRowsArgs extends Pick<
  SampleArgs,
  'logits' | 'padTokenId' | 'state' | 'tokens' | 'tokenLog' | 'logProbLog' | 'maskLog' | 'logStep'
> {
  readonly options: Tensor;
  readonly validVocab?: number;
}

/** One step of Adam with decoupled weight decay on one segment of parameters. */
export interface AdamArgs {
  /** f32 masters, updated in place; grad, m and v of the same size. */
  readonly param: Tensor;
  readonly grad: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
  /** Elements: the range of the four tensors to update. */
  readonly begin: number;
  readonly end: number;
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** Decoupled (AdamW). */
  readonly weightDecay: number;
  /** 1-based step for bias correction. */
  readonly step: number;
  /** f32 [1] on the device multiplied into grad (the global-norm clip factor). */
  readonly gradScale: Tensor;
}

/** A gather, scatter or strided copy as a table of blocks. */
export interface CopyBlocksArgs {
  readonly src: Tensor;
  /**
   * u32 [n, 6], a block per row: elements of all blocks before it, source offset, destination offset, run, source stride,
   * destination stride (elements). A block is as many runs as there are elements up to the next; destinations don't overlap.
   */
  readonly blocks: Tensor;
  /** Elements of all blocks. */
  readonly total: number;
  readonly dst: Tensor;
  /** Every number in `blocks` is a multiple of 4 (faster). Default false. */
  readonly aligned?: boolean;
  /** dst = eta·src + (1 − eta)·dst. Default 1, a plain copy. */
  readonly eta?: number;
  /** src is rounded to f16 first. Default false. */
  readonly toHalf?: boolean;
}

/** Layer norm or RMS norm of rows. */
export interface NormArgs {
  /** [rows, dim]. */
  readonly x: Tensor;
  /** [dim]. */
  readonly weight: Tensor;
  /** [dim], layer norm only. */
  readonly bias?: Tensor;
  /** layer: LayerNorm; rms: w·x̂; gemma: (1+w)·x̂. */
  readonly kind: 'layer' | 'rms' | 'gemma';
  readonly eps: number;
}

/** What a model may ask of a device: tensors and the kernels on them; calls are recorded, `read` waits. */
export interface Ops extends MoeOps {
  /** e.g. "SwiftShader Device (Subzero)". */
  readonly adapter: string;
  /** Largest storage binding in bytes: no tensor may exceed it. */
  readonly maxTensorBytes: number;

  // ---- memory -------------------------------------------------------------------------------------
  /** Uninitialised (pooled) memory. */
  empty(shape: readonly number[], dtype?: DType): Tensor;
  zeros(shape: readonly number[], dtype?: DType): Tensor;
  fromHost(data: HostArray, shape: readonly number[], dtype?: DType): Tensor;
  /** Overwrites `t` from `offset` elements on. */
  write(t: Tensor, data: HostArray, offset?: number): void;
  /** A window of `shape` from element `offset` of t; the byte offset must be a multiple of 256. Views are not freed. */
  view(t: Tensor, offset: number, shape: readonly number[]): Tensor;
  free(...tensors: readonly Tensor[]): void;
  fill(t: Tensor, value: number): void;
  /** dst[dstOffset …] = src[srcOffset …], `count` elements of 4 bytes. */
  copy(src: Tensor, dst: Tensor, count?: number, srcOffset?: number, dstOffset?: number): void;
  /** Submits and reads `count` elements back. */
  read(t: Tensor, offset?: number, count?: number): Promise<Float32Array>;
  readInts(t: Tensor, offset?: number, count?: number): Promise<Int32Array>;
  /** Submits what is recorded; does not wait. */
  flush(): void;
  /** Submits and waits. */
  sync(): Promise<void>;
  /** Bytes held by live tensors, bytes held by the pool with them, and the highest value of the latter. */
  memory(): { live: number; held: number; peak: number };
  /** Frees everything; the device is gone after it. */
  destroy(): void;

  // ---- matmul, elementwise ------------------------------------------------------------------------
  matmul(args: MatmulArgs): void;
  /** dBias[n] += column sums of dOut [m, n]. */
  biasBackward(dOut: Tensor, dBias: Tensor): void;
  /** out = a + b (out may be a). */
  add(a: Tensor, b: Tensor, out: Tensor): void;
  /** out = a · factor. */
  scale(a: Tensor, factor: number, out: Tensor): void;
  activation(kind: Activation, x: Tensor, out: Tensor): void;
  /** dx = dOut · f'(x); dx may be dOut. */
  activationBackward(kind: Activation, x: Tensor, dOut: Tensor, dx: Tensor): void;
  /** gateUp [rows, 2·inner] = gate ‖ up; out [rows, inner] = f(gate)·up. */
  gatedActivation(kind: Activation, gateUp: Tensor, out: Tensor): void;
  /** dGateUp [rows, 2·inner]; may be gateUp itself. */
  gatedActivationBackward(kind: Activation, gateUp: Tensor, dOut: Tensor, dGateUp: Tensor): void;

  // ---- layers -------------------------------------------------------------------------------------
  /** out [n, dim] = table[ids[i] − rowOffset]·factor, zero where that row is not in the table (vocab shards). ids i32 (or u32): entry idStride·i + idOffset, default 1 and 0. */
  embedding(
    table: Tensor,
    ids: Tensor,
    out: Tensor,
    options?: {
      rowOffset?: number;
      factor?: number;
      accumulate?: boolean;
      idStride?: number;
      idOffset?: number;
    },
  ): void;
  /**
   * dTable[row] += factor·Σ dOut over the positions of that row, in position order.
   * `ids` on the host (i32 [n]); the order is made there so that the sum needs no atomics.
   */
  embeddingBackward(
    dOut: Tensor,
    ids: Int32Array,
    dTable: Tensor,
    options?: { rowOffset?: number; factor?: number },
  ): void;
  /** out [rows, dim]; stats f32 [rows, 2] = (mean, 1/σ), kept for backward. */
  norm(args: NormArgs & { readonly out: Tensor; readonly stats: Tensor }): void;
  /** dx [rows, dim] overwritten, or added to with `accumulate`; dWeight and dBias accumulate. */
  normBackward(
    args: NormArgs & {
      readonly stats: Tensor;
      readonly dOut: Tensor;
      readonly dx: Tensor;
      readonly dWeight: Tensor;
      readonly dBias?: Tensor;
      readonly accumulate?: boolean;
    },
  ): void;
  /**
   * Rotates the first rotaryDim columns of each head in place (halves, not interleaved pairs).
   * x: rows of nHeads·headDim; positions u32 [rows], entry `positionStride·i + positionOffset` (decode state); cosSin f32 [maxPosition, rotaryDim] = cos ‖ sin.
   * `inverse` is the backward.
   */
  rope(args: {
    readonly x: Strided;
    readonly rows: number;
    readonly nHeads: number;
    readonly headDim: number;
    readonly rotaryDim: number;
    readonly positions: Tensor;
    readonly positionStride?: number;
    readonly positionOffset?: number;
    readonly cosSin: Tensor;
    readonly inverse?: boolean;
  }): void;
  attention(args: AttentionArgs): void;
  attentionBackward(args: AttentionBackwardArgs): void;
  /** Puts keys and values of `count` tokens at the last key of each row. */
  writePages(args: {
    readonly k: Strided;
    readonly v: Strided;
    readonly keys: PagedKeys;
    readonly count: number;
  }): void;
  pagedAttention(args: PagedAttentionArgs): void;

  /** Whole decode steps in few kernels, for models and devices that have them; see decode.ts. */
  decoder?(model: DecodeModel): Decoder | undefined;

  // ---- heads --------------------------------------------------------------------------------------
  logProbs(args: LogProbForwardArgs): void;
  logProbsBackward(args: LogProbBackwardArgs): void;
  sample(args: SampleArgs): void;
  sampleRows(args: SampleRowsArgs): void;

  // ---- rows and intervals -------------------------------------------------------------------------
  /** out [n, dim] = x[index[i]]; index u32 [n]. */
  gatherRows(x: Tensor, index: Tensor, out: Tensor): void;
  /** dst[index[i]] = src[i] (or += with accumulate), `columns` wide; indices are unique. */
  scatterRows(args: {
    readonly src: Strided;
    readonly index: Tensor;
    readonly indexStride?: number;
    readonly indexOffset?: number;
    readonly indexBias?: number;
    readonly rows: number;
    readonly columns: number;
    readonly dst: Tensor;
    readonly accumulate?: boolean;
  }): void;
  /** Copies (or with eta blends) strided blocks between flat tensors: the ends of a parameter reallocation. */
  copyBlocks(args: CopyBlocksArgs): void;
  /** words[i] = f16 of floats[2i] and floats[2i + 1]; floats f32 [n], words u32 [⌈n/2⌉]. */
  packHalves(floats: Tensor, words: Tensor): void;
  unpackHalves(words: Tensor, floats: Tensor): void;

  // ---- RL and optimizer ---------------------------------------------------------------------------
  /**
   * Generalised advantage estimation over packed sequences (Schulman et al., arXiv 1506.02438).
   * rewards f32 [Σ(L−1)], values f32 [ΣL], cuSeqlens u32 [N+1] of L, bootstrap u32 [N] (1: V(last) counts);
   * out advantages and returns [Σ(L−1)].
   */
  gae(args: {
    readonly rewards: Tensor;
    readonly values: Tensor;
    readonly cuSeqlens: Tensor;
    readonly bootstrap: Tensor;
    readonly gamma: number;
    readonly lambda: number;
    readonly advantages: Tensor;
    readonly returns: Tensor;
  }): void;
  /** out[slot] = Σ x² in a fixed order (out f32 [≥ slot+1]). */
  sumSquares(x: Tensor, out: Tensor, slot: number): void;
  /** norm [1] = √Σ squares[0…count), factor [1] = min(1, maxNorm/(norm+1e-6)): the global-norm clip, without a readback. */
  clipFactor(args: {
    readonly squares: Tensor;
    readonly count: number;
    readonly maxNorm: number;
    readonly factor: Tensor;
    readonly norm: Tensor;
  }): void;
  adam(args: AdamArgs): void;
}

/** Frees together what was made together; `keep` takes one out. */
export class Arena {
  private tensors = new Set<Tensor>();
  readonly ops: Ops;
  constructor(ops: Ops) {
    this.ops = ops;
  }
  empty(shape: readonly number[], dtype?: DType): Tensor {
    return this.own(this.ops.empty(shape, dtype));
  }
  zeros(shape: readonly number[], dtype?: DType): Tensor {
    return this.own(this.ops.zeros(shape, dtype));
  }
  fromHost(data: HostArray, shape: readonly number[], dtype?: DType): Tensor {
    return this.own(this.ops.fromHost(data, shape, dtype));
  }
  own(t: Tensor): Tensor {
    this.tensors.add(t);
    return t;
  }
  keep(t: Tensor): Tensor {
    this.tensors.delete(t);
    return t;
  }
  /** Frees one early. */
  drop(t: Tensor): void {
    if (this.tensors.delete(t)) this.ops.free(t);
  }
  release(): void {
    this.ops.free(...this.tensors);
    this.tensors.clear();
  }
}
