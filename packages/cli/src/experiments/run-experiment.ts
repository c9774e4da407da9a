/**
 * Runs a graph of MFCs on one device, in one process: master, one worker, metrics, checkpoints, exact resume. A
 * checkpoint holds each trained model as a Hugging Face directory (models/<role>) and, for the resume, raw segments of
 * parameters and Adam's moments (shards/), which also another layout can go on from.
 */
import { modelKey, modelName, singleDevice, type Engine, type Model, type Ops } from '@realhf/api';
import { AdamEngine, NetworkEngine } from '@realhf/backends';
import { buildGraph, InProcessStream, Master, ModelWorker, planRun } from '@realhf/dataflow';

import { movedRoles, MovedParams } from '../checkpoint/moved-params.js';
import { relayoutState, type WorkerSite } from '../checkpoint/relayout.js';
import { loadShards, saveShards, type TrainedPart } from '../checkpoint/shards.js';
import type { Checkpoint, CheckpointWriter } from '../checkpoint/store.js';
import type { OpenedDataset } from '../data/from-options.js';
import { openRunDirectory } from '../log/run-directory.js';
import type { RunContext } from '../options/command.js';
import { externalModel } from '../rewards/external-model.js';
import { registerAllInterfaces } from '../user-code/interfaces.js';
import {
  loadModel,
  roleConfig,
  saveModel,
  type LoadedModel,
  type SaveOptions,
} from './load-model.js';
import { adapterOwner, isFrozen } from './shared-weights.js';
import { OneDeviceHooks } from './one-device-hooks.js';
import { runSteps, type ExperimentResult } from './run-steps.js';
import type { ExperimentSpec } from './spec.js';

/** Throws what a step throws; a run directory that exists is refused or resumed as recover_mode says. */
export async function runExperiment(
  e: ExperimentSpec,
  data: OpenedDataset,
  ops: Ops,
  context: RunContext,
): Promise<ExperimentResult> {
  registerAllInterfaces();
  const loaded = new Map<string, LoadedModel>();
  const held = e.roles.filter((r) => !r.external);
  // Models with an adapter first: frozen ones may be their weights.
  for (const role of [...held].sort((a, b) => Number(isFrozen(a)) - Number(isFrozen(b)))) {
    const owner = adapterOwner(held, role);
    const model = owner
      ? { ...loaded.get(owner.role)!, model: loaded.get(owner.role)!.model.adapter!.base }
      : await loadModel(ops, { ...role, role: role.key });
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
    for (const { role, optimizer } of held) {
      const one = loaded.get(role)!;
      const trained =
        optimizer && new AdamEngine(one.model, { optimizer, totalSteps: plan.totalSteps });
      engines.set(role, {
        engine: trained ?? new NetworkEngine(one.model),
        loaded: one,
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
    for (const { role, key, options, isCritic } of e.roles.filter((r) => r.external)) {
      const config = await roleConfig(options, key, isCritic);
      models.push(externalModel(modelName(role), e, config));
    }
    const worker = new ModelWorker({
      models,
      data: data.train,
      ...(data.valid ? { evalData: () => data.valid ?? [] } : {}),
      hooks: new OneDeviceHooks(
        new Map([...loaded].map(([role, l]) => [modelKey(modelName(role)), l.model])),
      ),
    });
    const parts = partsOf(engines, movedRoles(e.mfcs));
    const { evaluate: joint } = e;
    const { valid = [] } = data;
    const master = new Master({
      graph: buildGraph(e.mfcs, { datasetKeys: e.datasetKeys }),
      stream: new InProcessStream({ worker }),
      control: e.config.exp_ctrl,
      configs: Object.fromEntries([...loaded].map(([role, l]) => [role, l.model.config])),
      ...(joint
        ? { evaluate: () => joint((role) => models.find((m) => m.name.role === role)!, valid) }
        : {}),
    });
    await master.initialize();
    if (run.resume) {
      const site = { name: 'worker', models: models.map((m) => modelKey(m.name)), hasData: true };
      await restore(run.resume, master, parts, site);
    }
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
          writeCheckpoint(writer, master, { engines, parts }, e.config.save),
        ),
    });
    for (const { trained } of engines.values()) trained?.free();
    const all = [...loaded.values()].map((l) => l.model);
    for (const model of new Set([...all, ...all.flatMap((m) => m.adapter?.base ?? [])]))
      model.free();
    return result;
  } finally {
    run.close();
  }
}

type Engines = ReadonlyMap<string, { trained?: AdamEngine; loaded: LoadedModel }>;

/** In the form of many ranks, with one: so a run can go on in another layout. */
function partsOf(engines: Engines, moved: ReadonlySet<string>): TrainedPart[] {
  return [...engines].map(
    ([
      role,
      {
        trained,
        loaded: { model },
      },
    ]) => ({
      trained: trained ?? (moved.has(role) ? new MovedParams(() => model) : undefined),
      config: model.config,
      placement: { model: modelName(role), ranks: [0], parallel: singleDevice },
      maxTensorBytes: model.ops.maxTensorBytes,
      lora: model.adapter?.lora,
    }),
  );
}

async function writeCheckpoint(
  writer: CheckpointWriter,
  master: Master,
  { engines, parts }: { readonly engines: Engines; readonly parts: readonly TrainedPart[] },
  options: SaveOptions,
): Promise<void> {
  for (const [role, { trained, loaded }] of engines)
    if (trained) await saveModel(loaded, await writer.modelDir(role), options);
  await saveShards(await writer.shardsDir(), 0, parts);
  await writer.state({ master: await master.state() });
}

async function restore(
  checkpoint: Checkpoint,
  master: Master,
  parts: readonly TrainedPart[],
  worker: WorkerSite,
): Promise<void> {
  await loadShards(checkpoint.shardsDir(), 0, parts);
  const { master: state } = checkpoint.state() as { master: unknown };
  await master.restore(relayoutState(state, [worker]));
}
