/**
 * The master's state for other workers than those that it was saved from. What belongs to a role (how often it was
 * trained, what its interface remembers) goes to every replica of the role; the position in the dataset goes to every
 * worker that reads it. With the same workers and models nothing changes.
 */
import { CheckpointError } from '@realhf/api';
import type { MasterState, WorkerState } from '@realhf/dataflow';
import { z } from 'zod';

/** A worker of the run that goes on. */
export interface WorkerSite {
  readonly name: string;
  /** Model keys, `actor@0`. */
  readonly models: readonly string[];
  /** It reads the dataset. */
  readonly hasData: boolean;
}

type ModelState = WorkerState['models'][string];

const shape = z.looseObject({
  workers: z.record(
    z.string(),
    z.looseObject({
      models: z.record(
        z.string(),
        z.looseObject({ version: z.object({ globalStep: z.number() }) }),
      ),
      data: z.unknown(),
    }),
  ),
});

const roleOf = (key: string) => key.slice(0, key.lastIndexOf('@'));

/** Throws CheckpointError where a role or the dataset's position is not in the state. */
export function relayoutState(saved: unknown, sites: readonly WorkerSite[]): unknown {
  // What is no master's state is for the master to refuse.
  if (!shape.safeParse(saved).success) return saved;
  const state = saved as MasterState;
  if (isSame(state, sites)) return state;
  const roles = new Map<string, ModelState>();
  for (const { models } of Object.values(state.workers))
    for (const [key, model] of Object.entries(models)) {
      // The replica that trains is ahead of those that it fills, and its interface is the one that learned.
      const known = roles.get(roleOf(key));
      if (!known || model.version.globalStep > known.version.globalStep)
        roles.set(roleOf(key), model);
    }
  const position = Object.values(state.workers).find((w) => w.data !== null)?.data ?? null;
  const workers = sites.map(({ name, models, hasData }): [string, WorkerState] => {
    const of = models.map((key): [string, ModelState] => {
      const model = roles.get(roleOf(key));
      if (!model)
        throw new CheckpointError(
          `the checkpoint has no model of role '${roleOf(key)}'; it has ${[...roles.keys()].join(', ') || 'none'}`,
        );
      return [key, model];
    });
    return [name, { models: Object.fromEntries(of), data: hasData ? position : null }];
  });
  return { ...state, workers: Object.fromEntries(workers) };
}

function isSame(state: MasterState, sites: readonly WorkerSite[]): boolean {
  const text = (workers: readonly (readonly [string, readonly string[], boolean])[]) =>
    JSON.stringify(workers.map(([n, keys, d]) => [n, [...keys].sort(), d]).sort());
  return (
    text(
      Object.entries(state.workers).map(
        ([name, w]) => [name, Object.keys(w.models), w.data !== null] as const,
      ),
    ) === text(sites.map((s) => [s.name, s.models, s.hasData] as const))
  );
}
