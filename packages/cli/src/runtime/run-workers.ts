/**
 * A run on many workers: starts the processes, drives them as master, ends them. A worker that dies ends the run with
 * its name, the cause and its last log lines; with recover_mode=auto all workers are started again from the newest
 * checkpoint instead, `recover_retries` times.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { userInfo } from 'node:os';

import { ConfigError, modelKey, type RealError } from '@realhf/api';
import { buildGraph, Master, planRun } from '@realhf/dataflow';

import { relayoutState } from '../checkpoint/relayout.js';
import type { Checkpoint, CheckpointWriter } from '../checkpoint/store.js';
import type { OpenedDataset } from '../data/from-options.js';
import { runSteps, type ExperimentResult } from '../experiments/run-steps.js';
import type { ExperimentSpec } from '../experiments/spec.js';
import { openRunDirectory, type RunDirectory } from '../log/run-directory.js';
import { appendLog } from '../lifecycle/run-logs.js';
import type { RunContext } from '../options/command.js';
import { registerAllInterfaces } from '../user-code/interfaces.js';
import { allocate, type RunAllocation } from './allocate.js';
import { makeRunKeys } from './keys.js';
import { controlKey, openNames } from './names.js';
import { WorkerProcesses } from './processes.js';
import { remoteModels } from './remote-engine.js';
import { workerName, type WorkerConfig } from './worker-config.js';
import { ZmqStream } from './zmq-stream.js';

/** A worker that has nothing to do ends within this; after it, it is killed. */
const exitMs = 5000;
/** How long the death of a worker may be outrun by what its peers say of it. */
const deathMs = 3000;
const startTimeoutMs = 300_000;
const callTimeoutMs = 1_800_000;

export interface RunWorkersOptions {
  /** The command by which workers find the experiment. */
  readonly command: string;
  readonly spec: ExperimentSpec;
  readonly data: OpenedDataset;
  readonly context: RunContext;
}

/** Throws what a step throws, ConfigError on a plan that can't be, CommError on a worker that died. */
export async function runWorkers(o: RunWorkersOptions): Promise<ExperimentResult> {
  const { spec, context } = o;
  const plan = await allocate(spec);
  const run = openRunDirectory(spec.config);
  try {
    for (const name of run.changed)
      context.stderr.write(`note: option '${name}' differs from the run that is resumed\n`);
    const retries = spec.config.recover_mode === 'auto' ? spec.config.recover_retries : 0;
    for (let left = retries; ; left--) {
      const resume = run.checkpoints.latest();
      const end = await attempt(o, { ...run, resume }, plan);
      if (!('death' in end)) return end;
      appendLog(run.path, 'master', end.death.message);
      if (left === 0 || context.signal.aborted) throw end.death;
      const from = run.checkpoints.latest()?.step ?? 0;
      context.stderr.write(
        `note: ${end.death.message}; starting all workers again from step ${from}, ${left - 1} more times after this\n`,
      );
    }
  } finally {
    run.close();
  }
}

/** One life of the workers. */
async function attempt(
  o: RunWorkersOptions,
  run: RunDirectory,
  plan: RunAllocation,
): Promise<ExperimentResult | { readonly death: RealError }> {
  const { spec, data, context } = o;
  const { entry } = context;
  if (entry === undefined)
    throw new ConfigError(
      'runs on many devices need the script of the real command to start workers',
    );
  const keys = makeRunKeys();
  const runtime = join(run.path, 'runtime');
  await rm(runtime, { recursive: true, force: true });
  await mkdir(runtime, { recursive: true, mode: 0o700 });
  const prefix = [userInfo().username, spec.config.experiment_name, run.trialName, randomUUID()];
  const runPlan = planRun(data.train.size, spec.nSeqs, spec.config.exp_ctrl);
  const config: WorkerConfig = {
    command: o.command,
    options: spec.config,
    modules: spec.config.user_modules.map((m) => resolve(m)),
    size: plan.size,
    gpusPerNode: spec.config.n_gpus_per_node,
    placements: [...plan.placements].map((p) => ({ ...p, ranks: [...p.ranks] })),
    dataRanks: [...plan.dataRanks],
    totalSteps: runPlan.totalSteps,
    names: spec.config.redis_url ?? join(runtime, 'names'),
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
  registerAllInterfaces();
  const { evaluate: joint } = spec;
  const { valid = [] } = data;
  let graceMs = 0;
  try {
    await names.add(controlKey(config.namePrefix), address);
    await stream.connected(startTimeoutMs);
    const master = new Master({
      graph: buildGraph(plan.mfcs, { datasetKeys: spec.datasetKeys }),
      stream,
      placements: plan.placements,
      dataWorkers: plan.dataRanks.map(workerName),
      control: spec.config.exp_ctrl,
      configs: plan.configs,
      onFailure: (e) => {
        stream.fail(e);
      },
      ...(joint ? { evaluate: () => joint(remoteModels(stream, spec, plan), valid) } : {}),
    });
    await master.initialize();
    if (run.resume) await restore(run.resume, master, stream, plan);
    const usage = await stream.commandAll({ type: 'usage' });
    const adapters = [...new Set(usage.map((u) => u.adapter))].join(', ');
    const result = await runSteps({
      spec,
      run,
      plan: runPlan,
      master,
      context,
      on: `${plan.size} workers: ${adapters}; ${usage[0]?.comm ?? ''}`,
      notes: data.notes,
      measure: () => measure(stream),
      save: (step) =>
        run.checkpoints.save(step, (writer) => save(writer, master, stream, spec, plan)),
    });
    await master.exit();
    graceMs = exitMs;
    return result;
  } catch (error) {
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
    if (death) return { death };
    throw error;
  } finally {
    await processes.end(graceMs);
    stream.close();
    await names.clearSubtree(config.namePrefix);
    await names.close();
  }
}

/** Of the worker that has most: bytes of its device at their peak, bytes of its process now. */
async function measure(stream: ZmqStream): Promise<Record<string, number>> {
  const usage = await stream.commandAll({ type: 'usage' });
  return {
    'memory/device_bytes': Math.max(...usage.map((u) => u.deviceBytes)),
    'memory/resident_bytes': Math.max(...usage.map((u) => u.residentBytes)),
  };
}

/** Every rank writes its own; the first rank of each trained role then puts its Hugging Face directory together. */
async function save(
  writer: CheckpointWriter,
  master: Master,
  stream: ZmqStream,
  spec: ExperimentSpec,
  plan: RunAllocation,
): Promise<void> {
  const shards = await writer.shardsDir();
  await stream.commandAll({ type: 'save_shards', dir: shards });
  for (const { role } of spec.roles.filter((r) => r.optimizer)) {
    const holder = plan.placements.find((p) => p.model.role === role && p.holdsParameters);
    if (!holder) continue;
    const dir = await writer.modelDir(role);
    await stream.command(workerName(holder.ranks[0]!), { type: 'export', role, shards, dir });
  }
  await writer.state({ master: await master.state() });
}

async function restore(
  checkpoint: Checkpoint,
  master: Master,
  stream: ZmqStream,
  plan: RunAllocation,
): Promise<void> {
  await stream.commandAll({ type: 'load_shards', dir: checkpoint.shardsDir() });
  const { master: state } = checkpoint.state() as { master: unknown };
  const sites = stream.workers.map((name, rank) => ({
    name,
    models: plan.placements.filter((p) => p.ranks.includes(rank)).map((p) => modelKey(p.model)),
    hasData: plan.dataRanks.includes(rank),
  }));
  await master.restore(relayoutState(state, sites));
}
