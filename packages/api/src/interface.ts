/** ModelInterface: what an algorithm does with one model on one call (reference: F14–F16). */
import type { Engine, Stats, TrainEngine } from './engine.js';
import type { ModelName } from './names.js';
import type { SequenceSample } from './sequence-sample.js';
import type { Tokenizer } from './tokenizer.js';

/** Position in training, counted in train_step calls of this model. */
export interface ModelVersion {
  epoch: number;
  epochStep: number;
  globalStep: number;
}

/** A model on a worker. */
export interface Model {
  readonly name: ModelName;
  readonly engine: Engine | TrainEngine;
  readonly tokenizer: Tokenizer;
  readonly version: ModelVersion;
  /** Seed of the run: generation derives its draws from it, the version and the ids. */
  readonly seed: number;
}

/** Options of a call on an interface. */
export interface InterfaceCall {
  readonly nMbs?: number;
}

/** Implementations are registered by name and built from `args`; every method is optional but those its MFCs need. */
export interface ModelInterface {
  generate?(model: Model, input: SequenceSample, call: InterfaceCall): Promise<SequenceSample>;
  inference?(model: Model, input: SequenceSample, call: InterfaceCall): Promise<SequenceSample>;
  trainStep?(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats>;
  evaluate?(
    model: Model,
    batches: AsyncIterable<SequenceSample> | Iterable<SequenceSample>,
  ): Promise<Stats>;
  /** JSON-able state (value norm, KL controller) for an exact resume. */
  state?(): unknown;
  restore?(state: unknown): void;
  /** false: checkpoints skip this model. Default true. */
  readonly enableSave?: boolean;
}
