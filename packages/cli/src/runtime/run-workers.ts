/**
 * A run on many workers: starts the processes, drives them as master, ends them. A worker that dies ends the run with
 * its name, the cause and its last log lines; with recover_mode=auto all workers are started again from the newest
 * checkpoint instead, `recover_retries` times.
 */
import { modelKey, type RealError } from '@realhf/api';
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
import { remoteModels } from './remote-engine.js';
import { exitMs, startWorkers } from './start-workers.js';
import { workerName } from './worker-config.js';
import type { ZmqStream } from './zmq-stream.js';

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
  const runPlan = planRun(data.train.size, spec.nSeqs, spec.config.exp_ctrl);
  const { totalSteps } = runPlan;
  const workers = await startWorkers({ command: o.command, spec, plan, totalSteps, run, context });
  const { stream } = workers;
  registerAllInterfaces();
  const { evaluate: joint } = spec;
  const { valid = [] } = data;
  let graceMs = 0;
  try {
    await workers.connected();
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
    const death = await workers.failed(error);
    if (death) return { death };
    throw error;
  } finally {
    await workers.end(graceMs);
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
