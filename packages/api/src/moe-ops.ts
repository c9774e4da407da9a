/**
 * The part of Ops that mixtures of experts and dropout need. A token's k chosen experts make k copies of it; copies are
 * sorted by expert (stable, on the device), so that each expert's are neighbouring rows, `offsets[e] ≤ row < offsets[e+1]`,
 * and one product over all experts does what a loop over them would.
 */
import type { Tensor } from './tensor.js';

/** How logits of chosen experts become weights: softmax over the chosen; sigmoid of each; softmax over all experts. */
export type MoeScores = 'selected' | 'sigmoid' | 'all';

/** From a router's logits to chosen experts. */
export interface MoeRouteArgs {
  /** [t, E]. */
  readonly logits: Tensor;
  readonly topK: number;
  readonly scores: MoeScores;
}

/** From chosen experts to rows that are sorted by expert. */
export interface MoeSortArgs {
  /** u32 [t, topK]. */
  readonly experts: Tensor;
  readonly nExperts: number;
  /** Copies of an expert above it are dropped: those of the lowest weight, or of the last positions. Default: none are. */
  readonly capacity?: { readonly copies: number; readonly policy: 'probs' | 'position' };
  /** [t, topK], for the policy `probs`. */
  readonly probs?: Tensor;
  /** u32 [t, topK]: the sorted row of a copy; 0xffffffff of a dropped one. */
  readonly rowOf: Tensor;
  /** u32 [t·topK]: the token of a sorted row; dropped copies come last. */
  readonly tokenOf: Tensor;
  /** u32 [E + 1]: first row of each expert, then the number of copies that are kept. */
  readonly offsets: Tensor;
  /** u32 [E]: copies that chose the expert, dropped ones too. */
  readonly counts: Tensor;
}

/**
 * A product per expert e, over its rows [offsets[e], offsets[e+1]) of a:
 * `forward` out [rows, n] = a [rows, k]·B_eᵀ, b [E·n, k]; `input` out [rows, n] = a [rows, k]·B_e, b [E·k, n];
 * `weight` out_e [m, n] += aᵀ·b, a [rows, m], b [rows, n], out [E·m, n]. Rows of no expert are left alone.
 */
export interface GroupedMatmulArgs {
  readonly kind: 'forward' | 'input' | 'weight';
  readonly a: Tensor;
  readonly b: Tensor;
  readonly out: Tensor;
  /** u32 [E + 1]. */
  readonly offsets: Tensor;
}

/** A factor per element, drawn from (key of the row, stream, column) alone, so that backward draws the same. */
export interface RandomScaleArgs {
  /** [rows, columns]. */
  readonly x: Tensor;
  /** [rows, columns]; may be x. */
  readonly out: Tensor;
  /** u32 [rows]. */
  readonly keys: Tensor;
  /** Tells apart what is drawn for the same row: layer and site. */
  readonly stream: number;
  /** dropout: 0 with probability `amount`, else 1/(1 − amount). jitter: uniform in 1 ± amount. */
  readonly kind: 'dropout' | 'jitter';
  readonly amount: number;
  /** out += factor·x instead of out = factor·x. */
  readonly accumulate?: boolean;
}

/** Ops of mixtures of experts. */
export interface MoeOps {
  /** Chosen experts u32 [t, topK], best first (ties: lowest number), and their weights [t, topK]; `choiceBias` [E] is added for the choice alone. */
  moeRoute(
    args: MoeRouteArgs & {
      readonly choiceBias?: Tensor;
      readonly experts: Tensor;
      readonly probs: Tensor;
      /** [t, E + 1]: softmax over all experts ‖ lse², whose column sums the auxiliary losses are made of. */
      readonly statistics?: Tensor;
    },
  ): void;
  /**
   * dLogits [t, E] of the weights, of auxScale·Σ_e counts[e]·Σ_t softmax_e (counts are constants) and of
   * zScale·Σ_t lse².
   */
  moeRouteBackward(
    args: MoeRouteArgs & {
      readonly experts: Tensor;
      readonly dProbs: Tensor;
      readonly counts: Tensor;
      readonly auxScale: number;
      readonly zScale: number;
      readonly dLogits: Tensor;
    },
  ): void;
  /** choiceBias [E] = ln d1 of the Sinkhorn scaling of exp(logits) to equal columns (mean change ≤ 1e-4). */
  moeSinkhorn(logits: Tensor, choiceBias: Tensor): void;
  moeSort(args: MoeSortArgs): void;
  groupedMatmul(args: GroupedMatmulArgs): void;
  /** out [t, dim] (+)= Σ_j weights[t, j]·rows[rowOf[t, j]], without the dropped; weights default to 1. */
  moeCombine(args: {
    readonly rows: Tensor;
    readonly rowOf: Tensor;
    readonly weights?: Tensor;
    readonly out: Tensor;
    readonly accumulate?: boolean;
  }): void;
  /** dRows [t·topK, dim] of kept copies, dWeights [t, topK] (0 for dropped ones). */
  moeCombineBackward(args: {
    readonly rows: Tensor;
    readonly rowOf: Tensor;
    readonly weights: Tensor;
    readonly dOut: Tensor;
    readonly dRows: Tensor;
    readonly dWeights: Tensor;
  }): void;
  randomScale(args: RandomScaleArgs): void;
}
