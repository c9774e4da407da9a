/**
 * Decode steps in few kernels: what a device must know of a model to do a whole step by itself. Optional: where Ops.decoder
 * is missing or gives nothing, a step is made of the other ops. Its log-probs agree with theirs up to the rounding of f16.
 */
import type { Activation } from './activation.js';
import type { Tensor } from './tensor.js';

/** Weights [out, in] of one block and its pools of keys and values ([rows, nKvHeads·headDim]). */
export interface DecodeLayer {
  readonly attnNorm: Tensor;
  /** [(nHeads + 2·nKvHeads)·headDim, hidden]. */
  readonly qkv: Tensor;
  readonly qkvBias?: Tensor;
  readonly o: Tensor;
  readonly mlpNorm: Tensor;
  /** [2·inner, hidden] = gate ‖ up. */
  readonly gateUp: Tensor;
  readonly down: Tensor;
  readonly kPool: Tensor;
  readonly vPool: Tensor;
  /** Multiplies q·k. */
  readonly scale: number;
}

/** A gated transformer with rotary positions and RMS norms, on one device. */
export interface DecodeModel {
  readonly layers: readonly DecodeLayer[];
  readonly embedding: Tensor;
  readonly embeddingScale: number;
  readonly finalNorm: Tensor;
  /** [vocab, hidden]. */
  readonly head: Tensor;
  /** f32 [positions, headDim] = cos ‖ sin. */
  readonly cosSin: Tensor;
  readonly norm: 'rms' | 'gemma';
  readonly eps: number;
  readonly activation: Activation;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly window?: number;
  /** Most rows of a step. */
  readonly maxRows: number;
}

/** One token of each of `rows` sequences. */
export interface DecodeStep {
  readonly rows: number;
  /** i32 [rows]. */
  readonly ids: Tensor;
  /** u32 [rows, 5]: the state that Ops.sample advances; its fourth word is the line of the page table, its fifth the keys. */
  readonly state: Tensor;
  /** u32 [lines, pages of a line]. */
  readonly pageTable: Tensor;
  /** Tokens, a power of two. */
  readonly pageSize: number;
}

/** Holds weights in a form of its own, made anew when they change. */
export interface Decoder {
  /** Logits [rows, vocab], overwritten by the next step; the caller must not free them. */
  step(step: DecodeStep): Tensor;
  free(): void;
}
