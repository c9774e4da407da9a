/**
 * Master: drives the graph over epochs with metadata only (reference: F10, S2). `run()` is an async iterator of step
 * records: no new step starts before the consumer has asked for it, so a checkpoint made in the loop body is exact.
 * By default a step ends before the next begins (on-policy). `readAhead: 1` lets the next step's calls start while a
 * step runs (never across epochs), which also bounds every MFC to one step ahead of its role's train_step.
 */
import {
  DataError,
  GraphError,
  modelKey,
  SequenceSample,
  type MFCDef,
  type ModelConfig,
  type ModelName,
  type Stats,
} from '@realhf/api';
import type { Placement } from './allocation/placement.js';
import { SequenceBuffer } from './buffer.js';
import { Dispatcher } from './dispatcher.js';
import {
  evalFrequencies,
  expControlSchema,
  saveFrequencies,
  Trigger,
  type ExpControl,
} from './exp-control.js';
import { fetchStep } from './fetch-step.js';
import { callFlops } from './flops.js';
import type { Graph, GraphNode } from './graph.js';
import { checkMasterState, notAtEdge, type MasterState } from './master-state.js';
import type { StepPosition } from './protocol.js';
import { planRun, type RunPlan } from './run-plan.js';
import { singleWorkerPlacements, Sites } from './sites.js';
import { mergeStats } from './merge-stats.js';
import { StepRun, type StepRecord } from './step-run.js';
import type { Stream } from './stream.js';

/** A graph, the workers and the control of a run. */
export interface MasterOptions {
  readonly graph: Graph;
  readonly stream: Stream;
  /** Default: one epoch, no saves, no evaluation. */
  readonly control?: ExpControl;
  /** Steps that may start before the oldest has ended. Default 0: on-policy. */
  readonly readAhead?: 0 | 1;
  /** Where the models are, for more than one device; see `resolveAllocations`. */
  readonly placements?: readonly Placement[];
  /** Default `model_worker/<rank>`. */
  readonly workerOfRank?: (rank: number) => string;
  /** Without placements: worker that holds a model. Default: the stream's first. */
  readonly workerOf?: (model: ModelName) => string;
  /**
   * Workers that load the dataset, each a contiguous part of every step; all sources must give the same items in the
   * same order. Default: heads of the first MFC that reads the dataset (reference: D17), without placements the
   * stream's first.
   */
  readonly dataWorkers?: readonly string[];
  /** By role, to count FLOPs. */
  readonly configs?: Readonly<Record<string, ModelConfig>>;
  /** Told at once of the first error of a call, while other ranks may still wait for the one that failed: end their waits. */
  readonly onFailure?: (error: Error) => void;
  /** What an evaluation is, by model key. Default: every trained model's interface evaluates it. */
  readonly evaluate?: () => Promise<Record<string, Stats>>;
  /** Seconds. Default: performance.now() / 1000. */
  readonly clock?: () => number;
  /** Most items in flight. Default 1e6. */
  readonly bufferCapacity?: number;
}

/** Runs a graph step by step: sends calls to workers as their inputs get ready, and sees metadata only. */
export class Master {
  private readonly graph: Graph;
  private readonly stream: Stream;
  private readonly control: ExpControl;
  private readonly readAhead: number;
  private readonly sites: Sites;
  private readonly dispatcher: Dispatcher;
  private readonly dataWorkers: readonly string[];
  private readonly configs: Readonly<Record<string, ModelConfig>>;
  private readonly evaluation: MasterOptions['evaluate'];
  private readonly clock: () => number;
  private readonly buffer: SequenceBuffer;
  private readonly saveTrigger: Trigger;
  private readonly evalTrigger: Trigger;
  private plan: RunPlan | undefined;
  /** Steps in flight, oldest first. */
  private steps: StepRun[] = [];
  private stepsLoaded = 0;
  private stepsDone = 0;
  private loading = false;
  private readonly flying = new Set<Promise<void>>();
  private failure: Error | undefined;
  /** Triggers that fired while another step was in flight: nothing new starts until they are served. */
  private due = { save: false, evaluate: false };

  constructor(options: MasterOptions) {
    const { graph, stream, placements, workerOf, onFailure } = options;
    const { workers } = stream;
    const first = workers[0] ?? '';
    this.graph = graph;
    this.stream = stream;
    this.configs = options.configs ?? {};
    const { workerOfRank = (rank: number) => `model_worker/${rank}` } = options;
    this.sites = new Sites({
      graph,
      placements: placements ?? singleWorkerPlacements(graph, workers, workerOf ?? (() => first)),
      workerOfRank: placements ? workerOfRank : (rank) => workers[rank] ?? first,
    });
    this.dispatcher = new Dispatcher({ graph, stream, sites: this.sites, onFailure });
    const source = [...graph.nodes.values()].find((n) => n.isSrc)!.mfc;
    this.dataWorkers =
      options.dataWorkers ?? (placements ? this.sites.of(source.model).heads : [first]);
    this.control = options.control ?? expControlSchema.parse({});
    this.readAhead = options.readAhead ?? 0;
    this.evaluation = options.evaluate;
    this.clock = options.clock ?? (() => performance.now() / 1000);
    this.buffer = new SequenceBuffer(
      options.graph,
      options.bufferCapacity === undefined ? {} : { capacity: options.bufferCapacity },
    );
    this.saveTrigger = new Trigger(saveFrequencies(this.control), this.clock());
    this.evalTrigger = new Trigger(evalFrequencies(this.control), this.clock());
  }

  /** Tells workers their MFCs and learns the size of the dataset; `run` and `restore` do it if it was not done. */
  async initialize(): Promise<RunPlan> {
    if (this.plan) return this.plan;
    const mfcs = [...this.graph.nodes.values()].map((n) => n.mfc);
    const began = this.clock();
    const replies = await this.dispatcher.all(
      this.stream.workers.map((worker) => {
        const here = (m: MFCDef) => this.sites.of(m.model).ranks.some((r) => r.worker === worker);
        return [worker, { type: 'initialize', mfcs: mfcs.filter(here) }] as const;
      }),
    );
    const middle = (began + this.clock()) / 2;
    let size: number | null = null;
    for (const worker of this.dataWorkers) {
      const told = replies[this.stream.workers.indexOf(worker)]?.datasetSize ?? null;
      if (told === null)
        throw new DataError(`worker '${worker}' should load the dataset, but it has none`);
      if (size !== null && told !== size)
        throw new DataError(
          `worker '${worker}' has a dataset of ${told} items, '${this.dataWorkers[0]!}' one of ${size}; give all the same`,
        );
      size = told;
    }
    if (size === null) throw new DataError('no worker loads the dataset; name one in dataWorkers');
    this.stream.workers.forEach((worker, i) => {
      this.dispatcher.clockOffsets.set(worker, middle - replies[i]!.clock);
    });
    return (this.plan = planRun(size, this.graph.stepSize, this.control));
  }

  /** Steps from where the master stands to the end. Throws on the first failing call, after all others have come back. */
  async *run(): AsyncGenerator<StepRecord, void, void> {
    const plan = await this.initialize();
    for (;;) {
      const step = await this.finishOldest(plan);
      if (!step) return;
      yield await this.close(step, plan);
    }
  }

  /** Everything needed to go on exactly from here, beside weights and optimizer; throws CheckpointError inside a step. */
  async state(): Promise<MasterState> {
    const { stepsPerEpoch } = await this.initialize();
    if (this.failure !== undefined || this.steps.length > 0 || this.buffer.size > 0)
      throw notAtEdge(this.stepsDone);
    const names = this.stream.workers;
    const replies = await this.dispatcher.all(names.map((w) => [w, { type: 'state' }] as const));
    const workers: MasterState['workers'] = {};
    names.forEach((w, i) => (workers[w] = replies[i]!.state));
    const now = this.clock();
    return {
      version: 1,
      stepsDone: this.stepsDone,
      stepsPerEpoch,
      secondsSinceSave: this.saveTrigger.state(now),
      secondsSinceEval: this.evalTrigger.state(now),
      workers,
    };
  }

  /** Back to a state, also after a failure; throws CheckpointError if it is of another run. */
  async restore(state: unknown): Promise<void> {
    const plan = await this.initialize();
    const checked = checkMasterState(state, plan, this.stream.workers);
    await Promise.allSettled(this.flying);
    await this.dispatcher.all(
      this.stream.workers.map((w) => [w, { type: 'restore', state: checked.workers[w]! }] as const),
    );
    this.buffer.clear();
    const states = Object.values(checked.workers);
    this.dispatcher.reset((key) => states.find((s) => s.models[key])?.models[key]?.version);
    this.steps = [];
    this.stepsDone = this.stepsLoaded = checked.stepsDone;
    this.failure = undefined;
    this.loading = false;
    this.due = { save: false, evaluate: false };
    const now = this.clock();
    this.saveTrigger.restore(checked.secondsSinceSave, now);
    this.evalTrigger.restore(checked.secondsSinceEval, now);
  }

  /** Saves every trained model, by all ranks of the replica that holds its parameters, to the path that `pathOf` gives. */
  async save(pathOf: (model: ModelName) => string): Promise<void> {
    for (const model of this.trainedModels())
      await this.dispatcher.all(
        this.sites
          .of(model)
          .ranks.map((r) => [r.worker, { type: 'save', model, path: pathOf(model) }] as const),
      );
  }

  /** Evaluates every trained model on the replica that holds its parameters; by model key. */
  async evaluate(): Promise<Record<string, Stats>> {
    if (this.evaluation) return this.evaluation();
    const all: Record<string, Stats> = {};
    for (const model of this.trainedModels()) {
      const { ranks, parallel } = this.sites.of(model);
      const count = parallel.dataParallelSize;
      const replies = await this.dispatcher.all(
        ranks.map((r) => {
          const part = count > 1 ? { part: { index: r.dp, count } } : {};
          return [r.worker, { type: 'evaluate', model, ...part }] as const;
        }),
      );
      all[modelKey(model)] = mergeStats(
        ranks.flatMap((r, i) => (r.isHead ? [replies[i]!.stats] : [])),
      );
    }
    return all;
  }

  /** Tells every worker to let go of its data. */
  async exit(): Promise<void> {
    await Promise.allSettled(this.flying);
    await this.dispatcher.all(this.stream.workers.map((w) => [w, { type: 'exit' }] as const));
  }

  private trainedModels(): ModelName[] {
    return [...this.graph.nodes.values()].flatMap(({ mfc }) =>
      mfc.interfaceType === 'train_step' ? [mfc.model] : [],
    );
  }

  /** Loads and dispatches until the oldest step has ended; undefined when no step is left. */
  private async finishOldest(plan: RunPlan): Promise<StepRun | undefined> {
    for (;;) {
      if (this.failure !== undefined) {
        await Promise.allSettled(this.flying);
        throw this.failure;
      }
      if (this.steps[0]?.finished === true) return this.steps.shift();
      this.load(plan);
      this.dispatch();
      if (this.flying.size === 0) {
        if (this.steps.length === 0) return undefined;
        throw new GraphError(
          `step ${this.steps[0]!.at.step} cannot go on: no MFC is running and none has all its inputs`,
        );
      }
      await Promise.race(this.flying);
    }
  }

  /** Runs work beside the loop; what it returns is applied to the master when it comes back. */
  private launch(work: Promise<() => void>): void {
    const task = work
      .then((apply) => {
        apply();
      })
      .catch((e: unknown) => {
        this.failure ??= e instanceof Error ? e : new Error(String(e));
      })
      .finally(() => this.flying.delete(task));
    this.flying.add(task);
  }

  private load(plan: RunPlan): void {
    if (this.loading || this.stepsLoaded >= plan.lastStep) return;
    if (this.steps.length > this.readAhead) return;
    const step = this.stepsLoaded;
    const at: StepPosition = {
      step,
      epoch: Math.floor(step / plan.stepsPerEpoch),
      epochStep: step % plan.stepsPerEpoch,
    };
    // Not across epochs: the same ids come again, and they are unique only within an epoch.
    if (this.steps.length > 0 && (at.epochStep === 0 || this.due.save || this.due.evaluate)) return;
    if (this.buffer.shortage(this.steps.length + 1) === 0) return;
    const began = this.clock();
    this.loading = true;
    this.launch(
      fetchStep(this.dispatcher, this.dataWorkers, at, this.graph.stepSize).then((parts) => () => {
        const sample = SequenceSample.gather(parts.flatMap(({ part }) => (part.bs ? [part] : [])));
        this.buffer.put(sample);
        for (const { worker, part } of parts)
          this.dispatcher.owners.add(worker, part.ids, part.keys);
        this.steps.push(new StepRun(this.graph, at, sample.ids, began));
        this.stepsLoaded += 1;
        this.loading = false;
      }),
    );
  }

  /** Starts every call whose inputs are there, in topological order. */
  private dispatch(): void {
    for (const node of this.graph.nodes.values()) {
      for (;;) {
        const step = this.steps.find((s) => !s.isStarted(node.mfc.name));
        if (!step || !this.mayStart(node, step)) break;
        const batch = this.buffer.take(node.mfc.name);
        if (!batch) break;
        step.start(node.mfc.name);
        this.launch(this.call(node.mfc, step, batch));
      }
    }
  }

  /** A train_step waits until the step no longer needs the old weights of the roles that it changes. */
  private mayStart({ mfc }: GraphNode, step: StepRun): boolean {
    if (mfc.interfaceType !== 'train_step') return true;
    const changed = new Set([mfc.model.role]);
    for (const hook of mfc.postHooks ?? [])
      if (hook.type === 'param_realloc' && hook.target) changed.add(hook.target.role);
    return [...this.graph.nodes.values()].every(
      ({ mfc: other }) =>
        other.interfaceType === 'train_step' ||
        !changed.has(other.model.role) ||
        step.isDone(other.name),
    );
  }

  private async call(mfc: MFCDef, step: StepRun, batch: SequenceSample): Promise<() => void> {
    const result = await this.dispatcher.call(mfc, step.at, batch);
    return () => {
      const { made } = result;
      if (made) this.buffer.amend(made);
      this.buffer.complete(mfc.name, batch.ids);
      const config = this.configs[mfc.model.role];
      const flops = config && callFlops(mfc, config, batch, made);
      step.finish(mfc.name, result, made ? [batch, made] : [batch], flops);
    };
  }

  /** Serves the triggers and drops the step's tensors. */
  private async close(step: StepRun, plan: RunPlan): Promise<StepRecord> {
    const now = this.clock();
    this.stepsDone += 1;
    const endOfEpoch = this.stepsDone % plan.stepsPerEpoch === 0;
    const epoch = endOfEpoch ? { epochsDone: this.stepsDone / plan.stepsPerEpoch } : {};
    const edge = { stepsDone: this.stepsDone, now, ...epoch };
    if (this.saveTrigger.check(edge)) this.due.save = true;
    if (this.evalTrigger.check(edge)) this.due.evaluate = true;
    this.dispatcher.owners.drop(step.ids);
    this.launch(this.dropTensors(step.ids));

    let serve = { save: false, evaluate: false };
    if (this.steps.length === 0 && !this.loading) {
      await Promise.allSettled(this.flying);
      if (this.failure !== undefined) throw this.failure;
      serve = this.due;
      this.due = { save: false, evaluate: false };
    }
    const notes =
      endOfEpoch && plan.droppedPerEpoch > 0
        ? [
            `epoch ${step.at.epoch} left out ${plan.droppedPerEpoch} items that do not fill a step of ${this.graph.stepSize}`,
          ]
        : [];
    return {
      ...step.summary(),
      totalSteps: plan.totalSteps,
      stepSeconds: now - step.began,
      endOfEpoch,
      last: this.stepsDone === plan.lastStep,
      save: serve.save,
      ...(serve.evaluate ? { evalStats: await this.evaluate() } : {}),
      notes,
    };
  }

  private async dropTensors(ids: readonly string[]): Promise<() => void> {
    await this.dispatcher.all(
      this.stream.workers.map((w) => [w, { type: 'clear_data_cache', ids }] as const),
    );
    return () => undefined;
  }
}
