/** What an op's `x.bench.ts` exports, for the bench runner. */
import type { Recorder } from '../webgpu/recorder.js';

export interface Bench {
  readonly name: string;
  /** Floating-point operations of one run. */
  readonly flops?: number;
  /** Bytes read and written by one run. */
  readonly bytes?: number;
  /** Allocates inputs; the function returned records one run. */
  setup(r: Recorder): () => void;
}
