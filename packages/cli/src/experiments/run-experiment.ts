/**
 * Runs a graph of MFCs on one device, in one process: master, one worker, metrics, checkpoints, exact resume. A
 * checkpoint holds each trained model as a Hugging Face directory (models/<role>) and, for the resume, raw segments of
 * parameters and Adam's moments.
 */
import {
  ConfigError,
  modelName,
  type Engine,
  type MFCDef,
  type Model,
  type OptimizerConfig,
  type SequenceSample,
  type Stats,
  type Tokenizer,
} from '@realhf/api';
import { AdamEngine, NetworkEngine } from '@realhf/backends';
import {
  buildGraph,
  InProcessStream,
  Master,
  ModelWorker,
  planRun,
  type DataSource,
  type StepRecord,
} from '@realhf/dataflow';
import { registerInterfaces } from '@realhf/model';
import type { SaveDType } from '@realhf/model/node';

import type { Checkpoint, CheckpointWriter } from '../checkpoint/store.js';
import { MetricsWriter } from '../log/metrics-writer.js';
import { createProgress, formatSeconds } from '../log/progress.js';
import { openRunDirectory } from '../log/run-directory.js';
import { TensorBoardWriter } from '../log/tensorboard.js';
import type { RunContext } from '../options/command.js';
import type { CommonConfig } from '../options/schemas/common.js';
import { saveModel, type LoadedModel } from './load-model.js';

export interface ExperimentModel {
  readonly loaded: LoadedModel;
  /** Absent: the model is only run. */
  readonly optimizer?: OptimizerConfig;
}

export interface Experiment {
  readonly config: CommonConfig;
  readonly mfcs: readonly MFCDef[];
  readonly datasetKeys: readonly string[];
  /** Items per step. */
  readonly nSeqs: number;
  readonly models: readonly ExperimentModel[];
  readonly tokenizer: Tokenizer;
  readonly data: DataSource;
  readonly evalData?: readonly SequenceSample[];
  /** Shown in the progress line, from the stats of all MFCs: `[label, mfc, stat]`. */
  readonly shown: readonly (readonly [label: string, mfc: string, stat: string])[];
  readonly notes?: readonly string[];
  /** Optimizer steps that a train_step takes are counted as one: the schedule runs over steps. */
  readonly onStep?: (record: StepRecord) => void;
}

export interface ExperimentResult {
  /** Directory of the run. */
  readonly path: string;
  readonly steps: number;
  readonly seconds: number;
  /** Hugging Face directories of the last checkpoint by role. */
  readonly models: Readonly<Record<string, string>>;
  /** True when a signal ended it early. */
  readonly interrupted: boolean;
}

/** Throws what a step throws; a run directory that exists is refused or resumed as recover_mode says. */
export async function runExperiment(e: Experiment, context: RunContext): Promise<ExperimentResult> {
  registerInterfaces();
  const run = openRunDirectory(e.config);
  const began = performance.now();
  try {
    for (const name of run.changed)
      context.stderr.write(`note: option '${name}' differs from the run that is resumed\n`);
    const plan = planRun(e.data.size, e.nSeqs, e.config.exp_ctrl);
    const engines = new Map<
      string,
      { engine: Engine; trained?: AdamEngine; loaded: LoadedModel }
    >();
    for (const { loaded, optimizer } of e.models) {
      const trained =
        optimizer && new AdamEngine(loaded.model, { optimizer, totalSteps: plan.totalSteps });
      engines.set(loaded.role, {
        engine: trained ?? new NetworkEngine(loaded.model),
        loaded,
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
      data: e.data,
      ...(e.evalData ? { evalData: () => e.evalData ?? [] } : {}),
    });
    const master = new Master({
      graph: buildGraph(e.mfcs, { datasetKeys: e.datasetKeys }),
      stream: new InProcessStream({ worker }),
      control: e.config.exp_ctrl,
    });
    await master.initialize();
    if (run.resume) await restore(run.resume, master, engines);
    const start = run.resume?.step ?? 0;
    const metrics = new MetricsWriter(run.metricsPath, { resumeStep: start });
    const events = new TensorBoardWriter(run.tensorboardDir, { resumeFrom: start + 1 });
    const progress = createProgress({ total: plan.lastStep, start, output: context.stderr });
    let last = run.resume;
    let steps = start;
    const save = async (step: number) => {
      last = await run.checkpoints.save(step, (writer) =>
        writeCheckpoint(writer, master, engines, e.config.save.dtype),
      );
      progress.note(`saved ${last.path}`);
    };
    const stopping = () => {
      progress.note(
        'stopping: this step is finished and saved first; a second signal ends at once',
      );
    };
    context.signal.addEventListener('abort', stopping, { once: true });
    try {
      const { adapter } = e.models[0]!.loaded.model.ops;
      for (const note of [
        `run ${run.path}: ${plan.lastStep} steps, ${plan.stepsPerEpoch} an epoch, on ${adapter}`,
        ...(e.notes ?? []),
        ...(run.resume ? [`resumed from step ${start}`] : []),
      ])
        progress.note(note);
      // A finished run that is started again has nothing to do.
      for await (const record of start >= plan.lastStep ? [] : master.run()) {
        steps = record.step + 1;
        report(e, record, steps, metrics, events, progress);
        e.onStep?.(record);
        const stop = context.signal.aborted;
        if (record.save || record.last || stop) await save(steps);
        if (stop) break;
      }
    } finally {
      context.signal.removeEventListener('abort', stopping);
      progress.stop();
      metrics.close();
      events.close();
    }
    const paths = Object.fromEntries(
      [...engines]
        .filter(([, m]) => m.trained && last)
        .map(([role]) => [role, last!.modelDir(role)]),
    );
    const interrupted = context.signal.aborted && steps < plan.lastStep;
    const seconds = (performance.now() - began) / 1000;
    context.stderr.write(
      interrupted
        ? `stopped at step ${steps} of ${plan.lastStep}; ${context.resumeHint ?? `go on with recover_mode=auto trial_name=${run.trialName}`}\n`
        : `done: ${steps} steps in ${formatSeconds(seconds)}; ${Object.entries(paths)
            .map(([r, p]) => `${r}: ${p}`)
            .join(', ')}\n`,
    );
    for (const { trained, loaded } of engines.values()) {
      trained?.free();
      loaded.model.free();
    }
    return { path: run.path, steps, seconds, models: paths, interrupted };
  } finally {
    run.close();
  }
}

function report(
  e: Experiment,
  record: StepRecord,
  step: number,
  metrics: MetricsWriter,
  events: TensorBoardWriter,
  progress: ReturnType<typeof createProgress>,
): void {
  const { stats, seconds, tokens, evalStats } = record;
  metrics.write({
    step,
    epoch: record.epoch,
    epochStep: record.epochStep,
    stepSeconds: record.stepSeconds,
    stats,
    seconds,
    tokens,
    ...(evalStats ? { eval: evalStats } : {}),
  });
  const scalars: Record<string, number> = { 'time/step': record.stepSeconds };
  const flat = (prefix: string, groups: Readonly<Record<string, Stats>>) => {
    for (const [group, values] of Object.entries(groups))
      for (const [k, v] of Object.entries(values)) scalars[`${prefix}${group}/${k}`] = v;
  };
  flat('', stats);
  if (evalStats) flat('eval/', evalStats);
  for (const [mfc, s] of Object.entries(seconds)) scalars[`time/${mfc}`] = s;
  events.scalars(step, scalars);
  const values = Object.fromEntries(
    e.shown.flatMap(([label, mfc, stat]) =>
      stats[mfc]?.[stat] === undefined ? [] : [[label, stats[mfc][stat]]],
    ),
  );
  progress.update({ step, tokens: Math.max(0, ...Object.values(tokens)), values });
  for (const note of record.notes) progress.note(note);
  for (const [model, s] of Object.entries(evalStats ?? {})) {
    progress.note(
      `eval ${model} at step ${step}: ${Object.entries(s)
        .map(([k, v]) => `${k} ${v.toPrecision(4)}`)
        .join('  ')}`,
    );
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
