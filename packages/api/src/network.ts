/**
 * Network: what an engine drives and a model implements; the one meeting point of `model` and `backends`.
 * A pass is async and cut at collectives: on a pipeline stage `forward` receives from the previous stage and
 * sends to the next, `backward` the other way. A single device is the case without peers.
 */
import type { Communicator } from './communicator.js';
import type { GenerateOptions, GenerateOutput } from './engine.js';
import type { GenerationHyperparameters } from './generation.js';
import type { ModelConfig } from './model-config.js';
import type { Ops } from './ops.js';
import type { RankCoordinates } from './parallelism.js';
import type { TensorCommunicator } from './tensor-communicator.js';
import type { Tensor } from './tensor.js';

/** One tensor of the logical flat parameter space. */
export interface ParamSpec {
  /** `<layer>.<name>`: 0 = embedding, 1…L = blocks, L+1 = final norm and head. */
  readonly name: string;
  /** Full (unsharded) shape. */
  readonly shape: readonly number[];
  /** Elements from the start of the logical flat space. */
  readonly offset: number;
  readonly size: number;
  readonly layer: number;
  /** false for biases and norms. */
  readonly decay: boolean;
  /** kaiming: uniform within ±1/√columns (torch's default of a Linear). */
  readonly init: 'normal' | 'residual' | 'zeros' | 'ones' | 'kaiming';
}

/** A run of a rank's storage that comes from the logical flat space. Lengths and offsets in elements. */
export interface ShardInterval {
  readonly param: string;
  /** In the logical flat space. */
  readonly global: number;
  /** In the rank's segment. */
  readonly segment: number;
  readonly local: number;
  readonly length: number;
}

/** Which intervals of the flat space one rank holds, and how it stores them in segments. */
export interface ShardMap {
  readonly intervals: readonly ShardInterval[];
  /** Elements per segment. */
  readonly segmentSizes: readonly number[];
}

/** A tensor of a rank inside its segments. A parameter that is too large for a segment is several of them, cut by rows. */
export interface LocalParam {
  readonly spec: ParamSpec;
  /** The first of this rank's rows of the parameter that are here. */
  readonly row: number;
  readonly segment: number;
  /** Elements, multiple of 64 (256 bytes). */
  readonly offset: number;
  /** Local (sharded) shape. */
  readonly shape: readonly number[];
}

/** A rank's place in the grid and its communicators along each axis. */
export interface ParallelGroups {
  readonly coordinates: RankCoordinates;
  readonly tpSize: number;
  readonly ppSize: number;
  readonly tp?: Communicator;
  readonly pp?: Communicator;
  readonly dp?: Communicator;
  /** The same groups on device tensors. Default: staged through the host over those above. */
  readonly tensors?: {
    readonly tp?: TensorCommunicator;
    readonly pp?: TensorCommunicator;
    readonly dp?: TensorCommunicator;
  };
  /** Training and scoring keep activations outside attention and MLP cut by tokens over tp (Korthikanti et al. 2022). Default false. */
  readonly sequenceParallel?: boolean;
}

/** Packed tokens of one microbatch. */
export interface PackedBatch {
  /** i32 [ΣL]. */
  readonly tokens: Int32Array;
  /** i32 [N+1], leading 0. */
  readonly cuSeqlens: Int32Array;
}

/** What the routers of this stage's layers did with a microbatch. */
export interface MoeStats {
  readonly layers: number;
  /** Sums over layers, unweighted: balancing and z-loss (coefficients included), largest load of an expert over the mean. */
  readonly auxLoss: number;
  readonly zLoss: number;
  readonly maxLoad: number;
  /** Copies of tokens, and those that a capacity dropped. */
  readonly copies: number;
  readonly dropped: number;
}

/** Options of a network's forward pass. */
export interface ForwardOptions {
  /** Keep what backward needs. */
  readonly train: boolean;
  readonly temperature?: number;
  /** Kept sets (Loss.maskKey): ΣL records. */
  readonly mask?: Uint8Array;
  readonly entropy?: boolean;
  /** u8 [Σ(L−1)]: entries with 0 are not computed. */
  readonly needed?: Uint8Array;
  /** Read the full logits back (tests, verification): [ΣL, V]. */
  readonly logits?: boolean;
  /**
   * With `train`, training mode: dropout, router jitter and Sinkhorn routing as the config has them. u32 [N], a seed per
   * sequence; what is drawn for a token depends on its sequence's seed and its position alone. Default: off.
   */
  readonly noiseSeeds?: Uint32Array;
  /** With `train`: weight of this microbatch's auxiliary losses of mixtures of experts, its tokens over those of the step. Default 0: without them. */
  readonly auxWeight?: number;
  /** With `train`, told once by the forward of a mixture of experts, on every stage that has layers. */
  readonly onMoeStats?: (stats: MoeStats) => void;
}

/** What a forward pass computes on the last stage. */
export interface ForwardOutput {
  /** Actors, last stage: [Σ(L−1)]. */
  readonly logProbs?: Float32Array;
  readonly entropy?: Float32Array;
  /** Critics, last stage: [ΣL]. */
  readonly values?: Float32Array;
  readonly logits?: Float32Array;
}

/** Gradients of a loss in the head's outputs; absent: zero. */
export interface HeadGrad {
  dLogProbs?: Float32Array;
  dEntropy?: Float32Array;
  dValues?: Float32Array;
}

/** A forward pass that can be followed backward. */
export interface ForwardPass {
  /** Undefined on every stage but the last. */
  readonly output?: ForwardOutput;
  /** Accumulates into the network's gradients and frees the pass. Only the last stage gets gradients. */
  backward(grad?: HeadGrad): Promise<void>;
  /** Frees the pass without a backward. */
  release(): void;
}

/**
 * One microbatch on one pipeline stage, step by step: a schedule says when. Transfers from or to a stage that does not
 * exist are nothing. The order is that of the methods; without `train` it ends after sendActivation.
 */
export interface StagePass {
  recvActivation(): Promise<void>;
  /** Output on the last stage, undefined on others. */
  forward(): Promise<ForwardOutput | undefined>;
  sendActivation(): Promise<void>;
  recvGrad(): Promise<void>;
  /** Accumulates into the network's gradients. Only the last stage gets `grad`. */
  backward(grad?: HeadGrad): Promise<void>;
  /** Frees the pass. */
  sendGrad(): Promise<void>;
  /** Frees the pass, once or more. */
  release(): void;
}

/** What an engine drives and a model implements: parameters and passes over packed tokens. */
export interface Network {
  readonly config: ModelConfig;
  readonly ops: Ops;
  readonly groups: ParallelGroups;
  readonly specs: readonly ParamSpec[];
  readonly locals: readonly LocalParam[];
  readonly shardMap: ShardMap;
  /** f32 segments of parameters; with a dp group, padded with zeros so that every rank's share is a multiple of 64 elements. */
  readonly params: readonly Tensor[];
  /** Segments of gradients, made and zeroed at the first call. */
  gradients(): readonly Tensor[];
  /** One microbatch through this stage, transfers included; backward likewise. */
  forward(batch: PackedBatch, options: ForwardOptions): Promise<ForwardPass>;
  /** The same in steps, for schedules with several microbatches in flight. Nothing runs before its first step. */
  pass(batch: PackedBatch, options: ForwardOptions): StagePass;
  generate(
    prompts: PackedBatch & { readonly seeds: Uint32Array },
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<GenerateOutput>;
  /** Call once after the last backward of a step: sums gradients of what several ranks hold (KV heads that don't divide tp, tied embeddings across stages). */
  finishGradients(): Promise<void>;
  free(): void;
}
