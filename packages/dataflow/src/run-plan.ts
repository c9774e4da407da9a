/** How many steps a run has: arithmetic that a launcher needs before there is a master (the learning-rate schedule). */
import { ConfigError } from '@realhf/api';
import type { ExpControl } from './exp-control.js';

/** Steps of a run. */
export interface RunPlan {
  readonly stepsPerEpoch: number;
  /** total_train_epochs × stepsPerEpoch; `benchmark_steps` does not shorten it, so that it times a run as it would be. */
  readonly totalSteps: number;
  /** The run stops after so many steps: totalSteps or benchmark_steps. */
  readonly lastStep: number;
  /** Items per epoch that do not fill a step. */
  readonly droppedPerEpoch: number;
}

/** `datasetSize` and `stepSize` in items; throws ConfigError if the dataset does not fill one step. */
export function planRun(datasetSize: number, stepSize: number, control: ExpControl): RunPlan {
  const stepsPerEpoch = Math.floor(datasetSize / stepSize);
  if (stepsPerEpoch === 0)
    throw new ConfigError(
      `the dataset has ${datasetSize} items, one step takes ${stepSize}; lower the batch size or add data`,
    );
  const totalSteps = stepsPerEpoch * control.total_train_epochs;
  return {
    stepsPerEpoch,
    totalSteps,
    lastStep: Math.min(totalSteps, control.benchmark_steps ?? Infinity),
    droppedPerEpoch: datasetSize % stepSize,
  };
}
