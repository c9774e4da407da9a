/**
 * What a run tells its workers: one JSON file for all, in the run's directory. It holds no secret (keys.ts). A worker
 * makes the experiment from the command and its options again, so classes and functions never travel.
 */
import { parallelismSchema } from '@realhf/api';
import { z } from 'zod';

export const workerConfigSchema = z.object({
  /** `sft`, `ppo`, … */
  command: z.string(),
  /** The command's options. */
  options: z.record(z.string(), z.unknown()),
  /** Modules of the user, imported before anything is looked up by name. */
  modules: z.array(z.string()),
  /** Number of workers; worker names are `model_worker/<rank>`. */
  size: z.number().int().positive(),
  gpusPerNode: z.number().int().positive(),
  placements: z.array(
    z.object({
      model: z.object({ role: z.string(), replicaId: z.number().int() }),
      ranks: z.array(z.number().int()),
      parallel: parallelismSchema,
      holdsParameters: z.boolean(),
    }),
  ),
  /** Ranks that read the dataset. */
  dataRanks: z.array(z.number().int()),
  /** Train steps of the whole run, for the learning rate. */
  totalSteps: z.number().int().positive(),
  /** Where names are resolved: a directory, or redis://… */
  names: z.string(),
  /** Before the names of this run. */
  namePrefix: z.string(),
  /** Of waiting for others at start-up. */
  startTimeoutMs: z.number().positive(),
  /** Of waiting for a peer within a call. */
  callTimeoutMs: z.number().positive(),
});
export type WorkerConfig = z.infer<typeof workerConfigSchema>;

/** As dataflow's master names it. */
export function workerName(rank: number): string {
  return `model_worker/${rank}`;
}
