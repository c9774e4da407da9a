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
  type MFCDef,
  type ModelName,
  type Stats,
} from '@realhf/api';
import { SequenceBuffer } from './buffer.js';
import {
  evalFrequencies,
  expControlSchema,
  saveFrequencies,
  Trigger,
  type ExpControl,
} from './exp-control.js';
import type { Graph, GraphNode } from './graph.js';
import { KeyOwners } from './key-owners.js';
import { checkMasterState, notAtEdge, type MasterState } from './master-state.js';
import { decodeMeta, errorOf, type StepPosition } from './protocol.js';
import { planRun, type RunPlan } from './run-plan.js';
import { StepRun, type StepRecord } from './step-run.js';
import type { Stream } from './stream.js';

export interface MasterOptions {
  readonly graph: Graph;
  readonly stream: Stream;
  /** Default: one epoch, no saves, no evaluation. */
  readonly control?: ExpControl;
  /** Steps that may start before the oldest has ended. Default 0: on-policy. */
  readonly readAhead?: 0 | 1;
  /** Worker that holds a model. Default: the stream's first. */
  readonly workerOf?: (model: ModelName) => string;
  /** Worker that loads the dataset. Default: the stream's first. */
  readonly dataWorker?: string;
  /** Seconds. Default: performance.now() / 1000. */
  readonly clock?: () => number;
  /** Most items in flight. Default 1e6. */
  readonly bufferCapacity?: number;
}

export class Master {
  private readonly graph: Graph;
  private readonly stream: Stream;
  private readonly control: ExpControl;
  private readonly readAhead: number;
  private readonly workerOf: (model: ModelName) => string;
  private readonly dataWorker: string;
  private readonly clock: () => number;
  private readonly buffer: SequenceBuffer;
  private readonly owners = new KeyOwners();
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
    const first = options.stream.workers[0] ?? '';
    this.graph = options.graph;
    this.stream = options.stream;
    this.control = options.control ?? expControlSchema.parse({});
    this.readAhead = options.readAhead ?? 0;
    this.workerOf = options.workerOf ?? (() => first);
    this.dataWorker = options.dataWorker ?? first;
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
    let size: number | null = null;
    for (const worker of this.stream.workers) {
      const reply = await this.stream.request(worker, {
        type: 'initialize',
        mfcs: mfcs.filter((m) => this.workerOf(m.model) === worker),
      });
      if (worker === this.dataWorker) size = reply.datasetSize;
    }
    if (size === null)
      throw new DataError(`worker '${this.dataWorker}' should load the dataset, but it has none`);
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
    const workers: MasterState['workers'] = {};
    for (const worker of this.stream.workers)
      workers[worker] = (await this.stream.request(worker, { type: 'state' })).state;
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
    for (const worker of this.stream.workers)
      await this.stream.request(worker, { type: 'restore', state: checked.workers[worker]! });
    this.buffer.clear();
    this.owners.clear();
    this.steps = [];
    this.stepsDone = this.stepsLoaded = checked.stepsDone;
    this.failure = undefined;
    this.loading = false;
    this.due = { save: false, evaluate: false };
    const now = this.clock();
    this.saveTrigger.restore(checked.secondsSinceSave, now);
    this.evalTrigger.restore(checked.secondsSinceEval, now);
  }

  /** Saves every trained model to the path that `pathOf` gives. */
  async save(pathOf: (model: ModelName) => string): Promise<void> {
    for (const model of this.trainedModels())
      await this.stream.request(this.workerOf(model), {
        type: 'save',
        model,
        path: pathOf(model),
      });
  }

  /** Evaluates every trained model; by model key. */
  async evaluate(): Promise<Record<string, Stats>> {
    const all: Record<string, Stats> = {};
    for (const model of this.trainedModels()) {
      const reply = await this.stream.request(this.workerOf(model), { type: 'evaluate', model });
      all[modelKey(model)] = reply.stats;
    }
    return all;
  }

  /** Tells every worker to let go of its data. */
  async exit(): Promise<void> {
    await Promise.allSettled(this.flying);
    for (const worker of this.stream.workers) await this.stream.request(worker, { type: 'exit' });
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
      this.fetch(at).then((sample) => () => {
        this.buffer.put(sample);
        this.owners.add(this.dataWorker, sample.ids, sample.keys);
        this.steps.push(new StepRun(this.graph, at, sample.ids, began));
        this.stepsLoaded += 1;
        this.loading = false;
      }),
    );
  }

  private async fetch(at: StepPosition) {
    const n = this.graph.stepSize;
    const ask = async () =>
      (await this.stream.request(this.dataWorker, { type: 'fetch', n })).sample;
    if (at.epochStep === 0 && at.epoch > 0 && (await ask()) !== null)
      throw new DataError(
        `epoch ${at.epoch - 1} of the dataset goes on after the size that it told; size must count the items of one epoch`,
      );
    const sample = await ask();
    if (sample?.ids.length !== n)
      throw new DataError(
        `the dataset gave ${sample?.ids.length ?? 0} items for step ${at.epochStep} of epoch ${at.epoch}, asked for ${n}; size must count the items of one epoch`,
      );
    return decodeMeta(sample);
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

  private async call(
    mfc: MFCDef,
    step: StepRun,
    batch: ReturnType<typeof decodeMeta>,
  ): Promise<() => void> {
    const worker = this.workerOf(mfc.model);
    try {
      const pulls = this.owners.plan(worker, batch.ids, mfc.inputKeys);
      // Now, not on return: a worker serves requests in order, so its next one finds the tensors there.
      this.owners.add(worker, batch.ids, mfc.inputKeys);
      const reply = await this.stream.request(worker, {
        type: mfc.interfaceType,
        mfc: mfc.name,
        ids: batch.ids,
        pulls,
        preHooks: mfc.preHooks ?? [],
        postHooks: mfc.postHooks ?? [],
        at: step.at,
      });
      const made = reply.sample === null ? undefined : decodeMeta(reply.sample);
      return () => {
        if (made) {
          this.buffer.amend(made);
          this.owners.add(worker, made.ids, mfc.outputKeys);
        }
        this.buffer.complete(mfc.name, batch.ids);
        step.finish(mfc.name, reply.seconds, reply.stats, made ? [batch, made] : [batch]);
      };
    } catch (e) {
      throw callError(e, mfc, step.at, batch.ids);
    }
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
    this.owners.drop(step.ids);
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
    for (const worker of this.stream.workers)
      await this.stream.request(worker, { type: 'clear_data_cache', ids });
    return () => undefined;
  }
}

/** The same class of error, saying where it happened. */
function callError(thrown: unknown, mfc: MFCDef, at: StepPosition, ids: readonly string[]) {
  const { name, message } = thrown instanceof Error ? thrown : new Error(String(thrown));
  const shown = ids.slice(0, 8).join(', ');
  const more = ids.length > 8 ? `, … (${ids.length} in all)` : '';
  return errorOf(
    name,
    `MFC '${mfc.name}' (${mfc.interfaceType} on model ${modelKey(mfc.model)}) failed at step ${at.step} (epoch ${at.epoch}, its step ${at.epochStep}) on ids ${shown}${more}: ${message}`,
    thrown,
  );
}
