/** 3D parallelism: how a model is cut over ranks. Rank order is (pp, dp, tp) row-major: rank = (pp·dp_size + dp)·tp_size + tp. */
import { z } from 'zod';

/** Schema of a layout; every size is 1 by default. */
export const parallelismSchema = z.object({
  dataParallelSize: z.number().int().positive().default(1),
  tensorParallelSize: z.number().int().positive().default(1),
  pipelineParallelSize: z.number().int().positive().default(1),
  useSequenceParallel: z.boolean().default(false),
});

/** A layout: how many ranks along data, tensor and pipeline. */
export type Parallelism = z.infer<typeof parallelismSchema>;

/** A rectangle of devices, as `NODE[01-03]:0,1` names it. */
export interface DeviceMesh {
  /** Node names in order. */
  readonly nodes: readonly string[];
  /** Device indices used on every node. */
  readonly devices: readonly number[];
}

/** Where one rank stands. */
export interface RankCoordinates {
  readonly pp: number;
  readonly dp: number;
  readonly tp: number;
}

/** The layout of one rank. */
export const singleDevice: Parallelism = {
  dataParallelSize: 1,
  tensorParallelSize: 1,
  pipelineParallelSize: 1,
  useSequenceParallel: false,
};
