/** Ranks with their engines, and steps of all of them at once: what tests of optimizer steps on grids share. */
import {
  singleDevice,
  type Loss,
  type ModelConfig,
  type Parallelism,
  type SequenceSample,
  type Stats,
} from '@realhf/api';
import { AdamEngine, type WebGpuOps } from '@realhf/backends';
import { parallelGroups, worldSize } from '@realhf/comm';
import { ReaLModel } from '@realhf/model';

import { adamConfig, randomParams, wholeTensors } from './harness.js';
import { blockingCommunicators } from './parallel-blocking.js';
import { partsOf } from './parallel-grid.js';
import { likelihood } from './parallel-suite.js';

export interface TrainedRank {
  readonly model: ReaLModel;
  readonly engine: AdamEngine;
}

// A clip that bites, so that the global norm matters, and a decay that norms and biases are spared.
const optimizer = adamConfig({ gradient_clipping: 0.05, eps: 1e-3, lr: 1e-3, weight_decay: 0.1 });

export function trained(models: readonly ReaLModel[]): TrainedRank[] {
  return models.map((model) => ({
    model,
    engine: new AdamEngine(model, { optimizer, totalSteps: 10 }),
  }));
}

/** Ranks on a transport whose sends block; `onSend` is called for each. */
export function blockingRanks(
  ops: WebGpuOps,
  config: ModelConfig,
  layout: Partial<Parallelism>,
  onSend?: () => void,
): TrainedRank[] {
  const whole = { ...singleDevice, ...layout };
  const params = randomParams(config, ops);
  return trained(
    blockingCommunicators(worldSize(whole), 120_000, onSend).map((world) => {
      const model = new ReaLModel({ ops, config, groups: parallelGroups(world, whole) });
      for (const [name, full] of params) model.load(name, full);
      return model;
    }),
  );
}

/** One step of all ranks, each on its part. */
export function step(
  ranks: readonly TrainedRank[],
  parts: readonly SequenceSample[],
  versionSteps: number,
  loss: Loss = likelihood,
): Promise<PromiseSettledResult<Stats>[]> {
  return Promise.allSettled(
    ranks.map(({ engine }, r) => engine.trainBatch(parts[r]!, loss, { versionSteps, nMbs: 2 })),
  );
}

/** Steps `from` to `to` on a sample that is split over data-parallel ranks. */
export async function steps(
  ranks: readonly TrainedRank[],
  sample: SequenceSample,
  from: number,
  to: number,
): Promise<void> {
  const parts = partsOf(modelsOf(ranks), sample);
  for (let s = from; s < to; s++)
    for (const r of await step(ranks, parts, s)) if (r.status === 'rejected') throw r.reason;
}

export const modelsOf = (ranks: readonly TrainedRank[]) => ranks.map((r) => r.model);
export const paramsOf = (ranks: readonly TrainedRank[]) => wholeTensors(modelsOf(ranks), 'params');
export const statesOf = (ranks: readonly TrainedRank[]) =>
  Promise.all(ranks.map((r) => r.engine.saveState()));

export function done(...grids: readonly (readonly TrainedRank[])[]): void {
  for (const { model, engine } of grids.flat()) {
    engine.free();
    model.free();
  }
}
