/** The worker processes of a run and the master's line to them: started, met by name, watched, ended. */
import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';

import { ConfigError, type CommError } from '@realhf/api';

import type { ExperimentSpec } from '../experiments/spec.js';
import type { RunDirectory } from '../log/run-directory.js';
import type { RunContext } from '../options/command.js';
import type { RunAllocation } from './allocate.js';
import { makeRunKeys } from './keys.js';
import { controlKey, openNames } from './names.js';
import { WorkerProcesses } from './processes.js';
import { workerName, type WorkerConfig } from './worker-config.js';
import { ZmqStream } from './zmq-stream.js';

/** A worker that has nothing to do ends within this; after it, it is killed. */
export const exitMs = 5000;
/** How long the death of a worker may be outrun by what its peers say of it. */
const deathMs = 3000;
const startTimeoutMs = 300_000;
const callTimeoutMs = 1_800_000;

export interface StartWorkersOptions {
  /** By which workers find the experiment. */
  readonly command: string;
  readonly spec: Pick<ExperimentSpec, 'config'>;
  readonly plan: RunAllocation;
  /** Train steps of the whole run. */
  readonly totalSteps: number;
  readonly run: Pick<RunDirectory, 'path' | 'trialName' | 'status'>;
  readonly context: Pick<RunContext, 'entry' | 'env'>;
}

export interface StartedWorkers {
  readonly stream: ZmqStream;
  /** Resolves when all have said hello. */
  connected(): Promise<void>;
  /** Writes an error into the status of the run; the death of a worker if that was its cause. */
  failed(error: unknown): Promise<CommError | undefined>;
  /** Ends them, those that did not within `graceMs` by force, and forgets their names. */
  end(graceMs: number): Promise<void>;
}

/** Throws ConfigError where this program can't be started again, as in a library. */
export async function startWorkers(o: StartWorkersOptions): Promise<StartedWorkers> {
  const { run, plan, context } = o;
  const { config: options } = o.spec;
  const { entry } = context;
  if (entry === undefined)
    throw new ConfigError(
      'runs on many devices need the script of the real command to start workers',
    );
  const keys = makeRunKeys();
  const runtime = join(run.path, 'runtime');
  await rm(runtime, { recursive: true, force: true });
  await mkdir(runtime, { recursive: true, mode: 0o700 });
  const prefix = [userInfo().username, options.experiment_name, run.trialName, randomUUID()];
  const config: WorkerConfig = {
    command: o.command,
    options,
    modules: options.user_modules.map((m) => resolve(m)),
    size: plan.size,
    gpusPerNode: options.n_gpus_per_node,
    placements: [...plan.placements].map((p) => ({ ...p, ranks: [...p.ranks] })),
    dataRanks: [...plan.dataRanks],
    totalSteps: o.totalSteps,
    names: options.redis_url ?? join(runtime, 'names'),
    namePrefix: prefix.join('/'),
    startTimeoutMs,
    callTimeoutMs,
  };
  const configPath = join(runtime, 'workers.json');
  await writeFile(configPath, JSON.stringify(config), { mode: 0o600 });
  const workers = Array.from({ length: plan.size }, (_, rank) => workerName(rank));
  const { stream, address } = await ZmqStream.bind(workers, keys);
  const names = await openNames(config.names);
  const logDir = join(run.path, 'logs');
  const processes = new WorkerProcesses(
    { entry, configPath, size: plan.size, keys, logDir, env: context.env },
    (death) => {
      stream.fail(death);
    },
  );
  run.status.set({
    state: 'READY',
    workers: processes.all.map((w) => ({ name: w.name, pid: w.pid ?? 0, state: 'READY' })),
  });
  return {
    stream,
    async connected() {
      await names.add(controlKey(config.namePrefix), address);
      await stream.connected(startTimeoutMs);
    },
    async failed(error) {
      // Only of a lost peer a death may be the cause; what a worker said itself is told at once.
      const isLost = error instanceof Error && error.name === 'CommError';
      const death = isLost ? await processes.deathWithin(deathMs) : processes.death;
      const failed = processes.all.map((w) => ({
        name: w.name,
        pid: w.pid ?? 0,
        state: w.cause === undefined ? ('READY' as const) : ('LOST' as const),
      }));
      const text = death?.message ?? (error instanceof Error ? error.message : String(error));
      run.status.set({ state: 'ERROR', error: text, workers: failed });
      return death;
    },
    async end(graceMs) {
      await processes.end(graceMs);
      stream.close();
      await names.clearSubtree(config.namePrefix);
      await names.close();
    },
  };
}
