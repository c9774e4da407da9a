/**
 * The loop over a run's steps that one process and many workers share: metrics, progress, saves at the edges, an
 * interrupt that finishes and saves the step first, and what is said at the end.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Stats } from '@realhf/api';
import { chromeTrace, type Master, type RunPlan, type StepRecord } from '@realhf/dataflow';

import type { Checkpoint } from '../checkpoint/store.js';
import { MetricsWriter } from '../log/metrics-writer.js';
import { createProgress, formatSeconds, type Progress } from '../log/progress.js';
import type { RunDirectory } from '../log/run-directory.js';
import { TensorBoardWriter } from '../log/tensorboard.js';
import { appendLog } from '../lifecycle/run-logs.js';
import { takeCommand } from '../lifecycle/run-status.js';
import type { RunContext } from '../options/command.js';
import type { ExperimentSpec } from './spec.js';

/** The newest steps, in `trace.json`. */
const tracedSteps = 100;
/** How old it may get while steps are made. */
const traceMs = 10_000;

/** Between two looks for a command while a run is paused. */
const pauseMs = 100;

export interface ExperimentResult {
  /** Directory of the run. */
  readonly path: string;
  readonly steps: number;
  readonly seconds: number;
  /** Hugging Face directories of the last checkpoint by role. */
  readonly models: Readonly<Record<string, string>>;
  /** True when a signal or a stop ended it early. */
  readonly interrupted: boolean;
}

export interface RunStepsOptions {
  readonly spec: ExperimentSpec;
  readonly run: RunDirectory;
  readonly plan: RunPlan;
  /** Initialized, and restored if the run goes on from a checkpoint. */
  readonly master: Master;
  readonly context: RunContext;
  /** What it runs on, for the first line. */
  readonly on: string;
  readonly notes: readonly string[];
  save(step: number): Promise<Checkpoint>;
  /** More numbers of a step for metrics.jsonl and TensorBoard. */
  measure?(record: StepRecord): Promise<Readonly<Record<string, number>>>;
}

/** Throws what a step throws. */
export async function runSteps(o: RunStepsOptions): Promise<ExperimentResult> {
  const { spec, run, plan, master, context } = o;
  const began = performance.now();
  const start = run.resume?.step ?? 0;
  const metrics = new MetricsWriter(run.metricsPath, { resumeStep: start });
  const events = new TensorBoardWriter(run.tensorboardDir, { resumeFrom: start + 1 });
  const shown = createProgress({ total: plan.lastStep, start, output: context.stderr });
  const progress: Progress = {
    update: (step) => {
      shown.update(step);
    },
    note: (line) => {
      shown.note(line);
      appendLog(run.path, 'master', line);
    },
    stop: () => {
      shown.stop();
    },
  };
  let last = run.resume;
  let steps = start;
  let stopped = false;
  const trace: StepRecord[] = [];
  let traced = performance.now();
  const writeTrace = () => {
    traced = performance.now();
    writeFileSync(join(run.path, 'trace.json'), JSON.stringify(chromeTrace(trace)));
  };
  const stopping = () => {
    progress.note('stopping: this step is finished and saved first; a second signal ends at once');
  };
  context.signal.addEventListener('abort', stopping, { once: true });
  takeCommand(run.path);
  run.status.set({ state: 'RUNNING', step: start, steps: plan.lastStep });
  try {
    for (const note of [
      `run ${run.path}: ${plan.lastStep} steps, ${plan.stepsPerEpoch} an epoch, on ${o.on}`,
      ...o.notes,
      ...(run.resume ? [`resumed from step ${start}`] : []),
    ])
      progress.note(note);
    // A finished run that is started again has nothing to do.
    for await (const record of start >= plan.lastStep ? [] : master.run()) {
      steps = record.step + 1;
      report(spec, record, (await o.measure?.(record)) ?? {}, { metrics, events, progress });
      trace.push(record);
      if (trace.length > tracedSteps) trace.shift();
      run.status.set({ step: steps });
      if (performance.now() - traced > traceMs) writeTrace();
      stopped = await stopsHere(o, progress);
      if (record.save || record.last || stopped) {
        // Saving may take long, or fail.
        writeTrace();
        last = await o.save(steps);
        progress.note(`saved ${last.path}`);
      }
      if (stopped) break;
    }
  } catch (error) {
    run.status.set({ state: 'ERROR', error: error instanceof Error ? error.message : 'unknown' });
    throw error;
  } finally {
    context.signal.removeEventListener('abort', stopping);
    progress.stop();
    metrics.close();
    events.close();
    writeTrace();
  }
  const saved = last;
  const trained = spec.roles.filter((r) => r.optimizer).map((r) => r.role);
  const models = Object.fromEntries(saved ? trained.map((r) => [r, saved.modelDir(r)]) : []);
  const interrupted = stopped && steps < plan.lastStep;
  run.status.set({ state: interrupted ? 'INTERRUPTED' : 'COMPLETED' });
  const seconds = (performance.now() - began) / 1000;
  context.stderr.write(
    interrupted
      ? `stopped at step ${steps} of ${plan.lastStep}; ${context.resumeHint ?? `go on with recover_mode=auto trial_name=${run.trialName}`}\n`
      : `done: ${steps} steps in ${formatSeconds(seconds)}; ${Object.entries(models)
          .map(([r, p]) => `${r}: ${p}`)
          .join(', ')}\n`,
  );
  return { path: run.path, steps, seconds, models, interrupted };
}

/** Serves `real pause`, `resume` and `stop`, and the signal; true if the run ends here. */
async function stopsHere({ run, context }: RunStepsOptions, progress: Progress): Promise<boolean> {
  let command = takeCommand(run.path);
  if (command === 'pause') {
    run.status.set({ state: 'PAUSED' });
    progress.note('paused; real resume lets it go on');
    while (command !== 'resume' && command !== 'stop' && !context.signal.aborted) {
      await new Promise((resolve) => {
        setTimeout(resolve, pauseMs);
      });
      command = takeCommand(run.path) ?? command;
    }
    run.status.set({ state: 'RUNNING' });
  }
  return command === 'stop' || context.signal.aborted;
}

interface Sinks {
  readonly metrics: MetricsWriter;
  readonly events: TensorBoardWriter;
  readonly progress: Progress;
}

function report(
  spec: ExperimentSpec,
  record: StepRecord,
  measured: Readonly<Record<string, number>>,
  { metrics, events, progress }: Sinks,
): void {
  const { stats, seconds, tokens, flops, evalStats } = record;
  const step = record.step + 1;
  metrics.write({
    step,
    epoch: record.epoch,
    epochStep: record.epochStep,
    stepSeconds: record.stepSeconds,
    stats,
    seconds,
    tokens,
    flops,
    ...(evalStats ? { eval: evalStats } : {}),
    ...(Object.keys(measured).length > 0 ? { measured } : {}),
  });
  const scalars: Record<string, number> = { 'time/step': record.stepSeconds, ...measured };
  const flat = (prefix: string, groups: Readonly<Record<string, Stats>>) => {
    for (const [group, values] of Object.entries(groups))
      for (const [k, v] of Object.entries(values)) scalars[`${prefix}${group}/${k}`] = v;
  };
  flat('', stats);
  if (evalStats) flat('eval/', evalStats);
  for (const [mfc, s] of Object.entries(seconds)) scalars[`time/${mfc}`] = s;
  events.scalars(step, scalars);
  const values = Object.fromEntries(
    spec.shown.flatMap(([label, mfc, stat]) =>
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
