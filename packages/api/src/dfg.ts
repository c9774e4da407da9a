/** MFCDef: one model function call of a dataflow graph (reference: F1–F3). Plain data; dataflow builds and checks graphs of them. */
import type { ModelName } from './names.js';

/** What a model function call asks of its model. */
export type MFCType = 'generate' | 'inference' | 'train_step';

/** Registered name and typed arguments: what a worker turns into an object. */
export interface Registered {
  readonly type_: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/** Moves parameters to (`target`) or from (`source`) another model before or after the call: dst = eta·src + (1 − eta)·dst. */
export interface ParamReallocHook {
  readonly type: 'param_realloc';
  readonly source?: ModelName;
  readonly target?: ModelName;
  readonly eta?: number;
}
/** Moves the model's parameters to the host after the call. */
export interface OffloadHook {
  readonly type: 'offload';
}

/** What happens before or after a call: parameters move, or a model leaves the device. */
export type MFCHook = ParamReallocHook | OffloadHook;

/** A model function call: which model does what, from which keys of the data to which. */
export interface MFCDef {
  readonly name: string;
  /** Items per call. */
  readonly nSeqs: number;
  readonly interfaceType: MFCType;
  readonly interfaceImpl: Registered;
  readonly model: ModelName;
  readonly inputKeys: readonly string[];
  readonly outputKeys: readonly string[];
  /** Graph key → interface key. */
  readonly inputKeyRemap?: Readonly<Record<string, string>>;
  /** Interface key → graph key. */
  readonly outputKeyRemap?: Readonly<Record<string, string>>;
  readonly nMbs?: number;
  /** Equal numbers of items per data-parallel rank instead of equal tokens. */
  readonly balancedDp?: boolean;
  /** Print the call's stats each step. */
  readonly logReturnValue?: boolean;
  readonly preHooks?: readonly MFCHook[];
  readonly postHooks?: readonly MFCHook[];
}
