/**
 * Runs a graph of MFCs on one device, in one process: master, one worker, metrics, checkpoints, exact resume. A
 * checkpoint holds each trained model as a Hugging Face directory (models/<role>) and, for the resume, raw segments of
 * parameters and Adam's moments.
 */
import { ConfigError, modelName, type Engine, type Model, type Ops } from '@realhf/api';
import { AdamEngine, NetworkEngine } from '@realhf/backends';
import { buildGraph, InProcessStream, Master, ModelWorker, planRun } from '@realhf/dataflow';
import { registerInterfaces } from '@realhf/model';
import type { SaveDType } from '@realhf/model/node';

import type { Checkpoint, CheckpointWriter } from '../checkpoint/store.js';
import type { OpenedDataset } from '../data/from-options.js';
import { openRunDirectory } from '../log/run-directory.js';
import type { RunContext } from '../options/command.js';
import { loadModel, saveModel, type LoadedModel } from './load-model.js';
import { runSteps, type ExperimentResult } from './run-steps.js';
import type { ExperimentSpec } from './spec.js';

/** Throws what a step throws; a run directory that exists is refused or resumed as recover_mode says. */
export async function runExperiment(
  e: ExperimentSpec,
  data: OpenedDataset,
  ops: Ops,
  context: RunContext,
): Promise<ExperimentResult> {
  registerInterfaces();
  const loaded = new Map<string, LoadedModel>();
  for (const role of e.roles) {
    const model = await loadModel(ops, { ...role, role: role.key });
    loaded.set(role.role, { ...model, role: role.role });
  }
  const run = openRunDirectory(e.config);
  try {
    for (const name of run.changed)
      context.stderr.write(`note: option '${name}' differs from the run that is resumed\n`);
    const plan = planRun(data.train.size, e.nSeqs, e.config.exp_ctrl);
    const engines = new Map<
      string,
      { engine: Engine; trained?: AdamEngine; loaded: LoadedModel }
    >();
    for (const { role, optimizer } of e.roles) {
      const held = loaded.get(role)!;
      const trained =
        optimizer && new AdamEngine(held.model, { optimizer, totalSteps: plan.totalSteps });
      engines.set(role, {
        engine: trained ?? new NetworkEngine(held.model),
        loaded: held,
        ...(trained ? { trained } : {}),
      });
    }
    const models: Model[] = [...engines].map(([role, { engine }]) => ({
      name: modelName(role),
      engine,
      tokenizer: e.tokenizer,
      version: { epoch: 0, epochStep: 0, globalStep: 0 },
      seed: e.config.seed,
    }));
    const worker = new ModelWorker({
      models,
      data: data.train,
      ...(data.valid ? { evalData: () => data.valid ?? [] } : {}),
    });
    const master = new Master({
      graph: buildGraph(e.mfcs, { datasetKeys: e.datasetKeys }),
      stream: new InProcessStream({ worker }),
      control: e.config.exp_ctrl,
      configs: Object.fromEntries([...loaded].map(([role, l]) => [role, l.model.config])),
    });
    await master.initialize();
    if (run.resume) await restore(run.resume, master, engines);
    const result = await runSteps({
      spec: e,
      run,
      plan,
      master,
      context,
      on: ops.adapter,
      notes: data.notes,
      save: (step) =>
        run.checkpoints.save(step, (writer) =>
          writeCheckpoint(writer, master, engines, e.config.save.dtype),
        ),
    });
    for (const { trained, loaded } of engines.values()) {
      trained?.free();
      loaded.model.free();
    }
    return result;
  } finally {
    run.close();
  }
}

type Engines = ReadonlyMap<string, { trained?: AdamEngine; loaded: LoadedModel }>;

async function writeCheckpoint(
  writer: CheckpointWriter,
  master: Master,
  engines: Engines,
  dtype: SaveDType,
): Promise<void> {
  const optimizer: Record<string, { steps: number; segments: number }> = {};
  for (const [role, { trained, loaded }] of engines) {
    if (!trained) continue;
    await saveModel(loaded, await writer.modelDir(role), dtype);
    const state = await trained.saveState();
    optimizer[role] = { steps: state.steps, segments: state.params.length };
    for (let i = 0; i < state.params.length; i++) {
      await writer.blob(`${role}.params.${i}`, state.params[i]!);
      await writer.blob(`${role}.m.${i}`, state.m[i]!);
      await writer.blob(`${role}.v.${i}`, state.v[i]!);
    }
  }
  await writer.state({ master: await master.state(), optimizer });
}

async function restore(checkpoint: Checkpoint, master: Master, engines: Engines): Promise<void> {
  const state = checkpoint.state() as {
    master: unknown;
    optimizer: Record<string, { steps: number; segments: number } | undefined>;
  };
  for (const [role, { trained }] of engines) {
    if (!trained) continue;
    const saved = state.optimizer[role];
    if (!saved)
      throw new ConfigError(
        `checkpoint ${checkpoint.path} has no trained model '${role}'; is it of another experiment?`,
      );
    const blobs = async (kind: string) =>
      Promise.all(
        Array.from(
          { length: saved.segments },
          async (_, i) => (await checkpoint.blob(`${role}.${kind}.${i}`)) as Float32Array,
        ),
      );
    trained.loadState({
      steps: saved.steps,
      params: await blobs('params'),
      m: await blobs('m'),
      v: await blobs('v'),
    });
  }
  await master.restore(state.master);
}
