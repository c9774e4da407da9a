/** What a master writes into a checkpoint at the edge of a step, and the checks before going on from it. JSON-plain. */
import { CheckpointError } from '@realhf/api';
import { z } from 'zod';
import type { WorkerState } from './protocol.js';
import type { RunPlan } from './run-plan.js';

const workerStateSchema = z.object({
  models: z.record(
    z.string(),
    z.object({
      version: z.object({
        epoch: z.number().int(),
        epochStep: z.number().int(),
        globalStep: z.number().int(),
      }),
      interface: z.unknown(),
    }),
  ),
  data: z.unknown(),
});

const masterStateSchema = z.object({
  version: z.literal(1),
  stepsDone: z.number().int().nonnegative(),
  stepsPerEpoch: z.number().int().positive(),
  secondsSinceSave: z.number(),
  secondsSinceEval: z.number(),
  workers: z.record(z.string(), workerStateSchema),
});

/** What the master and its workers know beside weights and optimizers; plain JSON. */
export interface MasterState {
  readonly version: 1;
  /** Steps since the start of training. */
  readonly stepsDone: number;
  readonly stepsPerEpoch: number;
  readonly secondsSinceSave: number;
  readonly secondsSinceEval: number;
  /** By worker name: versions, interface states, position in the dataset. */
  readonly workers: Record<string, WorkerState>;
}

/** Throws CheckpointError that says in what the state does not fit this run. */
export function checkMasterState(
  state: unknown,
  plan: RunPlan,
  workers: readonly string[],
): MasterState {
  const parsed = masterStateSchema.safeParse(state);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new CheckpointError(
      `not the state of a master: ${issue.path.join('.') || 'value'}: ${issue.message}; restore from another checkpoint`,
    );
  }
  const { stepsPerEpoch, workers: saved } = parsed.data;
  if (stepsPerEpoch !== plan.stepsPerEpoch)
    throw new CheckpointError(
      `the checkpoint was made with ${stepsPerEpoch} steps per epoch, now there are ${plan.stepsPerEpoch}; use the same dataset and batch size`,
    );
  const names = Object.keys(saved).sort().join(', ');
  if (names !== [...workers].sort().join(', '))
    throw new CheckpointError(
      `the checkpoint was made with workers ${names || 'none'}, now there are ${workers.join(', ') || 'none'}`,
    );
  return parsed.data;
}

/** The error of asking for the state while calls run or after one has failed. */
export function notAtEdge(stepsDone: number): CheckpointError {
  return new CheckpointError(
    `the state was asked for inside a step (${stepsDone} are done); ask in the loop over run() after a record with save: true`,
  );
}
