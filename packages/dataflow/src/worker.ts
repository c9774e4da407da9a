/**
 * ModelWorker: holds models, their interfaces and the tensors of items, and does what the master asks (reference: F14,
 * F16, S13, S14). One interface object per model, shared by all MFCs of the model, so its state is the model's state.
 * Pre-hooks run right before the call and post-hooks right after it; who moves parameters is injected as HookRunner.
 */
import {
  CheckpointError,
  ConfigError,
  DataError,
  interfaces as globalInterfaces,
  modelKey,
  type MFCDef,
  type MFCHook,
  type MFCType,
  type Model,
  type ModelInterface,
  type ModelName,
  type Registry,
  type SequenceSample,
  type Stats,
} from '@realhf/api';
import type { DataSource } from './data-source.js';
import { DataStore } from './data-store.js';
import { evalPart } from './eval-part.js';
import type { Pull } from './key-owners.js';
import {
  encodeMeta,
  errorReply,
  type CallRequest,
  type FetchRequest,
  type InitializedReply,
  type PartOf,
  type Reply,
  type Request,
  type ResultReply,
  type Span,
  type StepPosition,
  type WorkerState,
} from './protocol.js';
import type { RequestHandler } from './stream.js';

/** Carries out hooks on a worker. */
export interface HookRunner {
  /** `mfc.model` is the end of a param_realloc that the hook does not name; this worker may hold either end, or both. */
  run(hook: MFCHook, context: { mfc: MFCDef; phase: 'pre' | 'post' }): Promise<void>;
}

/** Without a runner offload does nothing, as it saves memory only; a reallocation cannot be skipped and throws ConfigError. */
export const noHooks: HookRunner = {
  run(hook, { mfc }) {
    return hook.type === 'offload'
      ? Promise.resolve()
      : Promise.reject(
          new ConfigError(
            `MFC '${mfc.name}' has a param_realloc hook, but this worker was given no HookRunner`,
          ),
        );
  },
};

/** Models, data and hooks of a worker. */
export interface ModelWorkerOptions {
  readonly models: Iterable<Model>;
  /** Default: the registry of `@realhf/api`. */
  readonly interfaces?: Registry<(args: Readonly<Record<string, unknown>>) => ModelInterface>;
  readonly data?: DataSource;
  /** A fresh pass over the evaluation batches of a model. */
  readonly evalData?: (model: Model) => Iterable<SequenceSample> | AsyncIterable<SequenceSample>;
  readonly hooks?: HookRunner;
  /** Takes tensors from another worker (its `read`, in process or over a wire); needed where models are spread over workers. */
  readonly pull?: (pull: Pull) => Promise<SequenceSample>;
  /** Writes a model's weights; called only where the interface does not say `enableSave: false`. */
  readonly saveModel?: (model: Model, path: string) => Promise<void>;
  /** Seconds. Default: performance.now() / 1000. */
  readonly clock?: () => number;
}

const methods = { generate: 'generate', inference: 'inference', train_step: 'trainStep' } as const;

/** Holds models and tensors, and does what the master asks. */
export class ModelWorker implements RequestHandler {
  private readonly options: ModelWorkerOptions;
  private readonly models: ReadonlyMap<string, Model>;
  private readonly clock: () => number;
  private readonly store = new DataStore();
  private readonly mfcs = new Map<string, MFCDef>();
  private readonly held = new Map<string, ModelInterface>();

  constructor(options: ModelWorkerOptions) {
    this.options = options;
    this.models = new Map([...options.models].map((m) => [modelKey(m.name), m]));
    this.clock = options.clock ?? (() => performance.now() / 1000);
  }

  /** Items whose tensors are here. */
  get storedItems(): number {
    return this.store.size;
  }

  /** Tensors for another worker, in the order of `ids`; throws DataError if one is not here. */
  read(ids: readonly string[], keys: readonly string[]): SequenceSample {
    return this.store.gather(ids, keys);
  }

  async handle(request: Request): Promise<Reply> {
    try {
      return await this.dispatch(request);
    } catch (e) {
      return errorReply(e);
    }
  }

  private async dispatch(request: Request): Promise<Reply> {
    switch (request.type) {
      case 'initialize':
        return this.initialize(request.mfcs);
      case 'fetch': {
        const sample = await this.fetch(request);
        if (sample) this.store.put(sample);
        return { type: 'data', sample: sample ? encodeMeta(sample) : null };
      }
      case 'generate':
      case 'inference':
      case 'train_step':
        return this.call(request);
      case 'hook': {
        const timer = new SpanTimer(this.clock);
        await this.runHooks(request.hooks, request.mfc, request.phase, timer);
        return { type: 'hooked', spans: timer.spans };
      }
      case 'save':
        await this.save(request.model, request.path);
        return { type: 'done' };
      case 'evaluate':
        return { type: 'stats', stats: await this.evaluate(request.model, request.part) };
      case 'clear_data_cache':
        this.store.clear(request.ids);
        return { type: 'done' };
      case 'state':
        return { type: 'state', state: this.state() };
      case 'restore':
        this.restore(request.state);
        return { type: 'done' };
      case 'exit':
        this.store.clearAll();
        return { type: 'done' };
    }
  }

  private initialize(mfcs: readonly MFCDef[]): InitializedReply {
    this.mfcs.clear();
    this.held.clear();
    this.store.clearAll();
    const registry = this.options.interfaces ?? globalInterfaces;
    for (const mfc of mfcs) {
      const model = this.modelOf(mfc.model);
      const key = modelKey(model.name);
      const held =
        this.held.get(key) ?? registry.get(mfc.interfaceImpl.type_)(mfc.interfaceImpl.args);
      if (!held[methods[mfc.interfaceType]])
        throw new ConfigError(
          `MFC '${mfc.name}' needs ${methods[mfc.interfaceType]} of interface '${mfc.interfaceImpl.type_}', which does not have it`,
        );
      this.held.set(key, held);
      this.mfcs.set(mfc.name, mfc);
    }
    return {
      type: 'initialized',
      models: [...this.models.keys()],
      datasetSize: this.options.data?.size ?? null,
      clock: this.clock(),
    };
  }

  /** Every data worker goes on by `n`, so that what a step is made of does not depend on how many there are. */
  private async fetch({ n, part }: FetchRequest): Promise<SequenceSample | undefined> {
    const sample = await this.dataSource().next(n);
    if (!sample || !part) return sample;
    const cut = (i: number) => Math.floor((i * n) / part.count);
    return sample.slice(cut(part.index), cut(part.index + 1));
  }

  private async runHooks(
    hooks: readonly MFCHook[],
    mfc: MFCDef,
    phase: 'pre' | 'post',
    timer: SpanTimer,
  ): Promise<void> {
    const runner = this.options.hooks ?? noHooks;
    for (const hook of hooks) {
      await runner.run(hook, { mfc, phase });
      timer.end(hook.type === 'offload' ? 'offload' : 'realloc');
    }
  }

  private async call(request: CallRequest): Promise<ResultReply> {
    const mfc = this.mfcs.get(request.mfc);
    if (mfc?.interfaceType !== request.type)
      throw new ConfigError(
        `this worker was not initialized with MFC '${request.mfc}' as ${request.type}; it has ${[...this.mfcs.keys()].join(', ') || 'none'}`,
      );
    const model = this.modelOf(mfc.model);
    const timer = new SpanTimer(this.clock);
    for (const pull of request.pulls) this.store.put(await this.pull(pull));
    if (request.pulls.length > 0) timer.end('transfer');
    // Assembled before the hooks: a missing tensor must not leave parameters moved.
    const input = this.store.gather(request.ids, mfc.inputKeys).remapKeys(mfc.inputKeyRemap ?? {});
    await this.runHooks(request.preHooks, mfc, 'pre', timer);
    if (request.version) Object.assign(model.version, request.version);
    const { output, stats } = await this.run(mfc.interfaceType, mfc, model, input);
    const result = request.isHead && output && this.checkedOutput(mfc, request.ids, output);
    if (mfc.interfaceType === 'train_step') bumpVersion(model, request.at);
    if (result) this.store.put(result);
    timer.end('call');
    await this.runHooks(request.postHooks, mfc, 'post', timer);
    return {
      type: 'result',
      sample: result ? encodeMeta(result) : null,
      stats: request.isHead ? stats : {},
      spans: timer.spans,
      version: { ...model.version },
    };
  }

  private async run(
    type: MFCType,
    mfc: MFCDef,
    model: Model,
    input: SequenceSample,
  ): Promise<{ output?: SequenceSample; stats: Stats }> {
    const held = this.held.get(modelKey(model.name));
    const call = mfc.nMbs === undefined ? {} : { nMbs: mfc.nMbs };
    const absent = () =>
      new ConfigError(`interface '${mfc.interfaceImpl.type_}' has no ${methods[type]}`);
    if (type === 'train_step') {
      if (!held?.trainStep) throw absent();
      return { stats: await held.trainStep(model, input, call) };
    }
    const output = await held?.[methods[type]]?.(model, input, call);
    if (!output) throw absent();
    return { output, stats: {} };
  }

  /** Renamed, cut to the output keys, same ids; items may come in another order. */
  private checkedOutput(
    mfc: MFCDef,
    ids: readonly string[],
    output: SequenceSample,
  ): SequenceSample {
    const renamed = output.remapKeys(mfc.outputKeyRemap ?? {});
    const absent = mfc.outputKeys.find((k) => !renamed.data?.[k]);
    if (absent !== undefined)
      throw new DataError(
        `MFC '${mfc.name}' should make key '${absent}', interface '${mfc.interfaceImpl.type_}' returned ${[...renamed.keys].join(', ')}`,
      );
    const got = new Set(renamed.ids);
    const lost = ids.find((id) => !got.has(id));
    if (lost !== undefined || got.size !== ids.length)
      throw new DataError(
        `interface '${mfc.interfaceImpl.type_}' got ${ids.length} ids and returned ${got.size}${lost === undefined ? '' : ` without '${lost}'`}; outputs must keep the ids of the inputs`,
      );
    return renamed.select(mfc.outputKeys);
  }

  private async save(name: ModelName, path: string): Promise<void> {
    const model = this.modelOf(name);
    if (this.held.get(modelKey(name))?.enableSave === false) return;
    if (!this.options.saveModel)
      throw new ConfigError(
        `cannot save model ${modelKey(name)} to ${path}: this worker was given no saveModel`,
      );
    await this.options.saveModel(model, path);
  }

  private async evaluate(name: ModelName, part?: PartOf): Promise<Stats> {
    const model = this.modelOf(name);
    const held = this.held.get(modelKey(name));
    if (!held?.evaluate)
      throw new ConfigError(
        `the interface of model ${modelKey(name)} cannot evaluate; turn eval_freq_* off`,
      );
    if (!this.options.evalData)
      throw new ConfigError(
        `cannot evaluate model ${modelKey(name)} without evaluation data; give some or turn eval_freq_* off`,
      );
    const batches = this.options.evalData(model);
    return held.evaluate(model, part && part.count > 1 ? evalPart(batches, part) : batches);
  }

  private state(): WorkerState {
    const models = [...this.models].map(([key, model]) => [
      key,
      { version: { ...model.version }, interface: this.held.get(key)?.state?.() ?? null },
    ]);
    return {
      models: Object.fromEntries(models) as WorkerState['models'],
      data: this.options.data?.state() ?? null,
    };
  }

  private restore(state: WorkerState): void {
    const saved = Object.keys(state.models).sort().join(', ');
    const here = [...this.models.keys()].sort().join(', ');
    if (saved !== here)
      throw new CheckpointError(
        `the checkpoint is of a worker with models ${saved || 'none'}, this one holds ${here || 'none'}`,
      );
    this.store.clearAll();
    for (const [key, model] of this.models) {
      const { version, interface: inner } = state.models[key]!;
      Object.assign(model.version, version);
      if (inner !== null) this.held.get(key)?.restore?.(inner);
    }
    if (state.data !== null) this.dataSource().restore(state.data);
  }

  private modelOf(name: ModelName): Model {
    const model = this.models.get(modelKey(name));
    if (!model)
      throw new ConfigError(
        `this worker has no model ${modelKey(name)}; it holds ${[...this.models.keys()].join(', ') || 'none'}`,
      );
    return model;
  }
  private pull(pull: Pull): Promise<SequenceSample> {
    if (!this.options.pull)
      throw new ConfigError(
        `this worker needs ${pull.keys.join(', ')} from worker '${pull.from}', but it was given no pull; give one or put all models on one worker`,
      );
    return this.options.pull(pull);
  }
  private dataSource(): DataSource {
    if (!this.options.data)
      throw new ConfigError('this worker was asked for data, but it has no dataset');
    return this.options.data;
  }
}

/** Cuts the time from its making into spans without gaps. Reads the clock once per span, and once at the start. */
class SpanTimer {
  readonly spans: Span[] = [];
  private readonly clock: () => number;
  private begin: number;
  constructor(clock: () => number) {
    this.clock = clock;
    this.begin = clock();
  }
  end(kind: Span['kind']): void {
    const end = this.clock();
    this.spans.push({ kind, begin: this.begin, end });
    this.begin = end;
  }
}

/** Counts train_step calls of this model; epochStep starts over with each epoch. */
function bumpVersion({ version }: Model, at: StepPosition): void {
  if (version.epoch !== at.epoch) version.epochStep = 0;
  version.epoch = at.epoch;
  version.epochStep += 1;
  version.globalStep += 1;
}
