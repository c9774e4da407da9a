/**
 * What master and workers say to each other (reference: S13): JSON-plain messages, metadata only, never tensors.
 * The reference's `spec` and `model_config` are part of the `initialized` reply, `ack` is the reply itself, and pre-
 * and post-hooks travel with the call (ranks outside its mesh get `hook`). Numbers that JSON lacks (NaN, ±∞) survive `encodeMessage`.
 */
import {
  CheckpointError,
  CommError,
  ConfigError,
  DataError,
  DeviceError,
  GraphError,
  NumericError,
  RealError,
  SequenceSample,
  type MFCDef,
  type MFCHook,
  type MFCType,
  type ModelName,
  type ModelVersion,
  type SampleDType,
  type SeqLens,
  type Stats,
} from '@realhf/api';
import type { Pull } from './key-owners.js';

/** A metadata-only SequenceSample as plain JSON. */
export interface EncodedMeta {
  readonly ids: readonly string[];
  readonly seqlens: Readonly<Record<string, SeqLens>>;
  readonly dtypes: Readonly<Record<string, SampleDType>>;
  readonly trailingShapes: Readonly<Record<string, readonly number[]>>;
  readonly metadata: Readonly<Record<string, readonly unknown[]>>;
}

/** Drops the tensors. */
export function encodeMeta(sample: SequenceSample): EncodedMeta {
  const { ids, seqlens, dtypes, trailingShapes, metadata } = sample;
  return { ids, seqlens, dtypes, trailingShapes, metadata };
}

/** Throws DataError if the parts do not fit each other. */
export function decodeMeta(encoded: EncodedMeta): SequenceSample {
  return new SequenceSample({ ...encoded, data: null });
}

/** Where a call stands in training, all counted from 0. */
export interface StepPosition {
  /** Steps since the start of training. */
  readonly step: number;
  readonly epoch: number;
  /** Steps since the start of the epoch. */
  readonly epochStep: number;
}

/** What a worker did from `begin` to `end`, in seconds of its own clock. */
export interface Span {
  readonly kind: 'transfer' | 'realloc' | 'offload' | 'call';
  readonly begin: number;
  readonly end: number;
}

/** First request: what the worker will be asked for. */
export interface InitializeRequest {
  readonly type: 'initialize';
  /** The MFCs that this worker will be asked for. */
  readonly mfcs: readonly MFCDef[];
}
/** One of `count` about equal parts. */
export interface PartOf {
  readonly index: number;
  readonly count: number;
}
/** Go on by `n` items of the dataset and keep a contiguous part of them. */
export interface FetchRequest {
  readonly type: 'fetch';
  readonly n: number;
  /** Default: all of them. */
  readonly part?: PartOf;
}

/** Run a call on a batch. */
export interface CallRequest {
  readonly type: MFCType;
  readonly mfc: string;
  /** The batch, in order. */
  readonly ids: readonly string[];
  /** Tensors to take from other workers first. */
  readonly pulls: readonly Pull[];
  readonly preHooks: readonly MFCHook[];
  readonly postHooks: readonly MFCHook[];
  readonly at: StepPosition;
  /** Whether this rank keeps the output and tells of it: tensor-parallel rank 0 of the last pipeline stage. */
  readonly isHead: boolean;
  /** Of the replica that trains, for a model that does not. */
  readonly version?: ModelVersion;
}
/** Take part in a hook of an MFC that runs elsewhere, or in one that follows its call. */
export interface HookRequest {
  readonly type: 'hook';
  readonly mfc: MFCDef;
  readonly phase: 'pre' | 'post';
  readonly hooks: readonly MFCHook[];
}

/** Write a model. */
export interface SaveRequest {
  readonly type: 'save';
  readonly model: ModelName;
  readonly path: string;
}

/** Evaluate a model on the worker's validation data. */
export interface EvaluateRequest {
  readonly type: 'evaluate';
  readonly model: ModelName;
  /** Of every evaluation batch; default: all of it. */
  readonly part?: PartOf;
}
/** Drop the tensors of these items. */
export interface ClearDataCacheRequest {
  readonly type: 'clear_data_cache';
  readonly ids: readonly string[];
}

/** Ask for the worker's state. */
export interface StateRequest {
  readonly type: 'state';
}
/** Back to a state that this kind of worker gave; drops all items. */
export interface RestoreRequest {
  readonly type: 'restore';
  readonly state: WorkerState;
}

/** Last request. */
export interface ExitRequest {
  readonly type: 'exit';
}

/** What a master asks of a worker. */
export type Request =
  | InitializeRequest
  | FetchRequest
  | CallRequest
  | HookRequest
  | SaveRequest
  | EvaluateRequest
  | ClearDataCacheRequest
  | StateRequest
  | RestoreRequest
  | ExitRequest;

/** What the worker has. */
export interface InitializedReply {
  readonly type: 'initialized';
  /** Model keys held, e.g. `actor@0`. */
  readonly models: readonly string[];
  /** Items of one epoch; null where the worker has no dataset. */
  readonly datasetSize: number | null;
  /** The worker's clock in seconds, to line its times up with the master's. */
  readonly clock: number;
}

/** Metadata of the next items. */
export interface DataReply {
  readonly type: 'data';
  /** null: the epoch is over; the next fetch starts the next one. */
  readonly sample: EncodedMeta | null;
}

/** Metadata and statistics of a call. */
export interface ResultReply {
  readonly type: 'result';
  /** New keys; null for a train_step. */
  readonly sample: EncodedMeta | null;
  readonly stats: Stats;
  /** Hooks and call by the worker's clock, waiting in its queue not counted; without gaps from begin to end. */
  readonly spans: readonly Span[];
  /** Of the model, after the call. */
  readonly version: ModelVersion;
}

/** A hook has run. */
export interface HookedReply {
  readonly type: 'hooked';
  readonly spans: readonly Span[];
}

/** Statistics of an evaluation. */
export interface StatsReply {
  readonly type: 'stats';
  readonly stats: Stats;
}

/** The worker's state. */
export interface StateReply {
  readonly type: 'state';
  readonly state: WorkerState;
}

/** Done, with nothing to tell. */
export interface DoneReply {
  readonly type: 'done';
}

/** An error, as data. */
export interface ErrorReply {
  readonly type: 'error';
  readonly name: string;
  readonly message: string;
}

/** The answer that belongs to a request when nothing fails. */
export type ReplyTo<R extends Request> = R extends InitializeRequest
  ? InitializedReply
  : R extends FetchRequest
    ? DataReply
    : R extends CallRequest
      ? ResultReply
      : R extends HookRequest
        ? HookedReply
        : R extends EvaluateRequest
          ? StatsReply
          : R extends StateRequest
            ? StateReply
            : DoneReply;

/** What a worker answers. */
export type Reply =
  | InitializedReply
  | DataReply
  | ResultReply
  | HookedReply
  | StatsReply
  | StateReply
  | DoneReply
  | ErrorReply;

/** What a worker must remember beside weights and optimizer; JSON-plain. */
export interface WorkerState {
  /** By model key. */
  readonly models: Readonly<
    Record<
      string,
      {
        readonly version: { epoch: number; epochStep: number; globalStep: number };
        /** ModelInterface.state(), null if it has none. */
        readonly interface: unknown;
      }
    >
  >;
  /** DataSource.state(), null without a dataset. */
  readonly data: unknown;
}

const numberMark = '$number';

/** JSON text of a message. */
export function encodeMessage(message: Request | Reply): string {
  return JSON.stringify(message, (_, v: unknown) =>
    typeof v === 'number' && !Number.isFinite(v) ? { [numberMark]: String(v) } : v,
  );
}

/** The message of a text made by `encodeMessage`; throws CommError if it is none. */
export function decodeMessage(text: string): Request | Reply {
  let message: unknown;
  try {
    message = JSON.parse(text, (_, v: unknown) =>
      typeof v === 'object' && v !== null && numberMark in v ? Number(v[numberMark]) : v,
    );
  } catch (cause) {
    throw new CommError(`a message is not JSON: ${text.slice(0, 60)}`, { cause });
  }
  if (typeof message !== 'object' || message === null || !('type' in message))
    throw new CommError(`a message has no type: ${text.slice(0, 60)}`);
  return message as Request | Reply;
}

const errorClasses = {
  ConfigError,
  DataError,
  GraphError,
  DeviceError,
  CheckpointError,
  CommError,
  NumericError,
};

/** An error of the class named (RealError if unknown), so that callers can tell NumericError from the rest across processes. */
export function errorOf(name: string, message: string, cause?: unknown): RealError {
  const known: Readonly<Record<string, typeof RealError>> = errorClasses;
  return new (known[name] ?? RealError)(message, { cause });
}

/** The reply that tells of any thrown value. */
export function errorReply(thrown: unknown): ErrorReply {
  return thrown instanceof Error
    ? { type: 'error', name: thrown.name, message: thrown.message }
    : { type: 'error', name: 'Error', message: String(thrown) };
}
