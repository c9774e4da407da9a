/**
 * The error base of every package. Two copies of a package may be loaded, so `instanceof` can lie:
 * use `RealError.is(e)`, which looks for a global symbol. A message says what was asked, what was
 * found and what to do, in one line.
 */
const marker = Symbol.for('@realhf/error');

/** Base of all errors thrown on purpose by `@realhf/*`; `cause` is kept. */
export class RealError extends Error {
  readonly [marker] = true;
  override readonly name: string = 'RealError';
  static is(e: unknown): e is RealError {
    return typeof e === 'object' && e !== null && marker in e;
  }
}

/** A bad option, config file, mesh string or allocation. */
export class ConfigError extends RealError {
  override readonly name = 'ConfigError';
}
/** A bad record, dataset, tokenizer or `SequenceSample`. */
export class DataError extends RealError {
  override readonly name = 'DataError';
}
/** A dataflow graph that can't run: cycle, duplicate producer, unknown key. */
export class GraphError extends RealError {
  override readonly name = 'GraphError';
}
/** No usable adapter, a lost device, out of memory, a kernel that does not compile. */
export class DeviceError extends RealError {
  override readonly name = 'DeviceError';
}
/** A checkpoint that is missing, truncated, of another shape or of an unknown family. */
export class CheckpointError extends RealError {
  override readonly name = 'CheckpointError';
}
/** A peer that is gone, a time-out, a message that does not fit. */
export class CommError extends RealError {
  override readonly name = 'CommError';
}
/** NaN or infinity where a number was needed. */
export class NumericError extends RealError {
  override readonly name = 'NumericError';
}
