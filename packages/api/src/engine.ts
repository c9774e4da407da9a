/**
 * Engine: runs one model on the data of one call. It owns microbatches, heads, the global token count, gradient
 * accumulation, the optimizer. A loss is a pure function from per-token vectors to a scalar and its gradient in
 * those vectors; it never sees the model.
 */
import type { GenerationHyperparameters } from './generation.js';
import type { ModelConfig } from './model-config.js';
import type { SequenceSample } from './sequence-sample.js';

/** What a loss gets for one microbatch: model outputs and everything that the sample carries. */
export interface LossInput {
  readonly sample: SequenceSample;
  /** i32 [N+1] of the model's input key. */
  readonly cuSeqlens: Int32Array;
  /** [Σ(L−1)]: log π(x_{t+1} | x_≤t) of the loss's temperature and mask; heads of actors. */
  readonly logProbs?: Float32Array;
  /** [Σ(L−1)] in nats, when asked for. */
  readonly entropy?: Float32Array;
  /** [ΣL]: value or score of every token; heads of critics and reward models. */
  readonly values?: Float32Array;
  /** Σ of `weight` over all microbatches and all data-parallel ranks: divide by it. */
  readonly totalWeight: number;
}

/** A loss and its gradients in whatever it was computed from. */
export interface LossOutput {
  /** This microbatch's share of the loss (already divided by totalWeight). */
  readonly loss: number;
  /** Gradients of `loss` in the inputs of the same name. */
  readonly dLogProbs?: Float32Array;
  readonly dEntropy?: Float32Array;
  readonly dValues?: Float32Array;
  /** Logged as sum / count over microbatches and ranks. */
  readonly stats?: Readonly<Record<string, { readonly sum: number; readonly count: number }>>;
  /** Of a loss that is not finite: which key of which id, for the error. */
  readonly problem?: string;
}

/** A loss as a pure function from per-token vectors to a number and its gradients; engines do the rest. */
export interface Loss {
  readonly name: string;
  /** Divides logits before the softmax. Default 1. */
  readonly temperature?: number;
  /** Key of kept sets, u8: a record per token (`encodeKept` of @realhf/model), record t for the distribution after token t. */
  readonly maskKey?: string;
  readonly needsEntropy?: boolean;
  /** u8 [Σ(L−1)]: entries with 0 are not computed (log-prob and entropy 0), e.g. prompt tokens. Default: all. */
  needed?(sample: SequenceSample): Uint8Array;
  /** Denominator that this sample contributes: tokens, sequences or pairs. */
  weight(sample: SequenceSample): number;
  compute(input: LossInput): LossOutput;
  /** After all microbatches, from the mean stats: a reason not to take the optimizer step (early stop), else undefined. */
  skipStep?(stats: Stats): string | undefined;
}

/** How an engine reads a batch and cuts it into microbatches. */
export interface CallOptions {
  /** Key of the packed tokens. Default `packed_input_ids`. */
  readonly inputKey?: string;
  /** Microbatches; the numbers do not depend on it. Default 1. */
  readonly nMbs?: number;
  /** Upper bound of tokens in a microbatch, splits further. */
  readonly maxTokensPerMb?: number;
}

/** Options of one optimizer step. */
export interface TrainOptions extends CallOptions {
  /** Optimizer steps done before; decides the learning rate. */
  readonly versionSteps: number;
  /** Training mode (dropout, router jitter, Sinkhorn routing) with what is drawn decided by this and the sequence ids. Default: off. */
  readonly noiseSeed?: number;
}

/** Stats are means unless a name ends in `_sum`. */
export type Stats = Record<string, number>;

/** What was generated, a list per sequence of the input. */
export interface GenerateOutput {
  /** i32 [Σ gen lengths], per sequence the sampled tokens, EOS included, PAD not. */
  readonly tokens: readonly Int32Array[];
  /** f32 per sampled token under the warped distribution. */
  readonly logProbs: readonly Float32Array[];
  /** Which tokens the filters kept, a record per sampled token (kept sets: `encodeKept` of @realhf/model); absent when nothing was masked or it was not asked for. */
  readonly masks?: readonly Uint8Array[];
  /** True where max_new_tokens ended the sequence, not EOS. */
  readonly noEos: readonly boolean[];
}

/** Special tokens and the seed of a generation. */
export interface GenerateOptions extends CallOptions {
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  /** Further ids that end a sequence, as EOS does; with it at most 8. */
  readonly stopIds?: readonly number[];
  /** Together with a sequence's id decides its draws, whatever else is in the batch. */
  readonly seed: number;
}

/** Runs a model on batches without training it: inference, values, generation, statistics of a loss. */
export interface Engine {
  readonly config: ModelConfig;
  /**
   * Sum or maximum over the data-parallel ranks, in place: statistics of a batch of which each rank has a part.
   * Collective; does nothing on one rank, and an engine without it runs on one.
   */
  overData?(values: Float64Array, op: 'sum' | 'max'): Promise<void>;
  /** [Σ(L−1)] log-probs of the input's own tokens. */
  logProbs(
    input: SequenceSample,
    options?: CallOptions & {
      temperature?: number;
      maskKey?: string;
      needed?: (sample: SequenceSample) => Uint8Array;
    },
  ): Promise<Float32Array>;
  /** [ΣL] values (critics). */
  values(input: SequenceSample, options?: CallOptions): Promise<Float32Array>;
  /** Loss and stats without gradients. */
  evalBatch(input: SequenceSample, loss: Loss, options?: CallOptions): Promise<Stats>;
  generate(
    input: SequenceSample,
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<GenerateOutput>;
}

/** An engine with an optimizer. */
export interface TrainEngine extends Engine {
  /** One optimizer step; throws NumericError on a loss or gradient that is not finite, parameters untouched. Stats include loss, grad_norm, lr. */
  trainBatch(input: SequenceSample, loss: Loss, options: TrainOptions): Promise<Stats>;
}
