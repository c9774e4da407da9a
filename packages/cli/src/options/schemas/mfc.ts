/** Options of one model function call (reference: L5, L6): microbatches and layout. */
import type { Parallelism } from '@realhf/api';
import { z } from 'zod';
import type { Report } from './common.js';

const size = (what: string) => z.number().int().positive().default(1).describe(what);

/** Schema of a call's layout. */
export const parallelOptions = z.object({
  data_parallel_size: size('replicas, each with a part of the batch'),
  model_parallel_size: size('tensor parallelism: ranks that share every layer'),
  pipeline_parallel_size: size('stages of layers'),
  use_sequence_parallel: z
    .boolean()
    .default(false)
    .describe('also split norms and residuals over the tensor-parallel ranks'),
});

/** Schema of a call's microbatches, devices and layout. */
export const mfcSchema = z.object({
  n_mbs: z
    .number()
    .int()
    .positive()
    .nullable()
    .default(null)
    .describe('microbatches: less memory, the same numbers; null: one'),
  parallel: parallelOptions.prefault({}).describe('layout'),
  device_mesh: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('with allocation_mode=manual: devices as NODE[01-02] or NODE01:0,1; null: all'),
});

/** A call's microbatches, devices and layout. */
export type MfcOptions = z.infer<typeof mfcSchema>;

/** The api's names for the same layout. */
export function toParallelism(options: MfcOptions['parallel']): Parallelism {
  return {
    dataParallelSize: options.data_parallel_size,
    tensorParallelSize: options.model_parallel_size,
    pipelineParallelSize: options.pipeline_parallel_size,
    useSequenceParallel: options.use_sequence_parallel,
  };
}

/** A call splits its batch over replicas and microbatches: the batch must be large enough. */
export function checkMfc(mfc: MfcOptions, name: string, batch: number, report: Report): void {
  const { data_parallel_size: dp, model_parallel_size: tp } = mfc.parallel;
  const parts = dp * (mfc.n_mbs ?? 1);
  if (parts > batch)
    report(
      [name, mfc.n_mbs === null ? 'parallel' : 'n_mbs'],
      `${parts} parts (n_mbs × data_parallel_size) of a batch of ${batch} records; lower one or raise dataset.train_bs_n_seqs`,
    );
  if (mfc.parallel.use_sequence_parallel && tp === 1)
    report(
      [name, 'parallel', 'use_sequence_parallel'],
      'sequence parallelism needs model_parallel_size above 1',
    );
}
