/** Where the answers of `real gen` come from: one device, or workers. */
import type { SequenceSample } from '@realhf/api';

/** Answers batches of prompts. */
export interface Answerer {
  /** Begins a batch, beside the one before it; what is returned waits for its answers, in its order. */
  submit(
    batch: readonly SequenceSample[],
  ): () => Promise<readonly { readonly tokens: Int32Array; readonly noEos: boolean }[]>;
  /** Lets go of what has begun. */
  close(): Promise<void>;
}
