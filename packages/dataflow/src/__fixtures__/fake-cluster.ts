/**
 * Workers in one process, one per rank, with models of one number each. Every call and every move of parameters is a
 * real meeting of its ranks, so that two ranks that see them in different orders hang; arithmetic is exact, so that
 * every layout must give the same numbers.
 */
import {
  createRegistry,
  modelKey,
  SequenceSample,
  type Model,
  type ModelInterface,
  type ModelName,
  type Registry,
} from '@realhf/api';
import { coordinatesOf } from '@realhf/comm';
import { planHook } from '../allocation/hook-ranks.js';
import type { Placement } from '../allocation/placement.js';
import { ListDataSource } from '../data-source.js';
import type { Pull } from '../key-owners.js';
import { InProcessStream } from '../stream.js';
import { ModelWorker } from '../worker.js';
import { FakeEngine, fakeModel } from './fake-models.js';

/** Ranks that wait for each other. */
export class Meetings {
  /** Names of meetings by rank, in order. */
  readonly log = new Map<number, string[]>();
  private readonly open = new Map<
    string,
    { values: Map<number, unknown>; done: Promise<void>; finish: () => void }
  >();

  /** Resolves with what every rank brought once all have come. */
  async meet<T>(
    name: string,
    ranks: readonly number[],
    rank: number,
    value: T,
  ): Promise<ReadonlyMap<number, T>> {
    const key = `${name} ${ranks.join()}`;
    this.log.set(rank, [...(this.log.get(rank) ?? []), key]);
    let meeting = this.open.get(key);
    if (!meeting) {
      let finish: () => void = () => undefined;
      const done = new Promise<void>((resolve) => (finish = resolve));
      meeting = { values: new Map(), done, finish };
      this.open.set(key, meeting);
    }
    if (meeting.values.has(rank)) throw new Error(`rank ${rank} comes twice to ${key}`);
    meeting.values.set(rank, value);
    if (meeting.values.size === ranks.length) {
      this.open.delete(key);
      meeting.finish();
    }
    await meeting.done;
    return meeting.values as ReadonlyMap<number, T>;
  }
}

export interface FakeCall {
  readonly rank: number;
  readonly model: string;
  readonly method: string;
  readonly ids: readonly string[];
  readonly phase: 'begin' | 'end';
}

export interface FakeCluster {
  readonly stream: InProcessStream;
  readonly workers: ReadonlyMap<string, ModelWorker>;
  /** By rank, then model key. */
  readonly models: readonly ReadonlyMap<string, Model & { readonly engine: FakeEngine }>[];
  readonly meetings: Meetings;
  readonly calls: FakeCall[];
  readonly pulls: (Pull & { readonly to: string })[];
  /** `model rank path`. */
  readonly saved: string[];
  /** Set to take part in calls: may wait or throw. */
  during?: (call: FakeCall) => Promise<void>;
}

export interface FakeClusterOptions {
  readonly placements: readonly Placement[];
  readonly items: readonly SequenceSample[];
  readonly evalItems?: readonly SequenceSample[];
  readonly weights: Readonly<Record<string, number>>;
}

export const workerName = (rank: number): string => `model_worker/${rank}`;

/** Weights are multiples of 2⁻¹⁰, so that sums in any order are exact. */
const grid = (x: number) => Math.round(x * 1024) / 1024;

export function fakeCluster(options: FakeClusterOptions): FakeCluster {
  const { placements } = options;
  const size = Math.max(...placements.flatMap((p) => p.ranks)) + 1;
  const meetings = new Meetings();
  const workers = new Map<string, ModelWorker>();
  const models: Map<string, Model & { readonly engine: FakeEngine }>[] = [];
  const made: FakeCluster = {
    stream: undefined as unknown as InProcessStream,
    workers,
    models,
    meetings,
    calls: [],
    pulls: [],
    saved: [],
  };
  for (let rank = 0; rank < size; rank++) {
    const here = placements.filter((p) => p.ranks.includes(rank));
    const mine = new Map(
      here.map((p) => {
        const weight = p.holdsParameters ? options.weights[p.model.role]! : NaN;
        return [modelKey(p.model), { ...fakeModel(p.model.role, weight), name: p.model }] as const;
      }),
    );
    models.push(mine);
    const engineOf = (name: ModelName) => mine.get(modelKey(name))?.engine;
    workers.set(
      workerName(rank),
      new ModelWorker({
        models: mine.values(),
        interfaces: fakeRegistry(made, placements, rank),
        data: new ListDataSource(options.items, { seed: 3 }),
        evalData: () => options.evalItems ?? [],
        hooks: {
          async run(hook, { mfc, phase }) {
            const plan = planHook(hook, mfc, placements);
            if (plan.kind === 'drop') engineOf(plan.source)!.weight = NaN;
            if (plan.kind !== 'move') return;
            const name = `${phase} ${mfc.name} ${modelKey(plan.source)} to ${modelKey(plan.target)}`;
            const weight = engineOf(plan.source)?.weight;
            const all = await meetings.meet(name, plan.ranks, rank, weight);
            const sent = [...all.values()].filter((w) => w !== undefined);
            if (new Set(sent).size !== 1) throw new Error(`${name}: weights ${sent.join(', ')}`);
            const target = engineOf(plan.target);
            if (!target) return;
            const { eta } = plan;
            target.weight =
              eta === 1 ? sent[0]! : grid(eta * sent[0]! + (1 - eta) * target.weight);
          },
        },
        pull(pull) {
          made.pulls.push({ ...pull, to: workerName(rank) });
          return Promise.resolve(workers.get(pull.from)!.read(pull.ids, pull.keys));
        },
        saveModel(model, path) {
          made.saved.push(`${modelKey(model.name)} ${rank} ${path}`);
          return Promise.resolve();
        },
      }),
    );
  }
  return Object.assign(made, { stream: new InProcessStream(Object.fromEntries(workers)) });
}

function fakeRegistry(
  cluster: FakeCluster,
  placements: readonly Placement[],
  rank: number,
): Registry<(args: Readonly<Record<string, unknown>>) => ModelInterface> {
  const weightOf = (model: Model) => (model.engine as FakeEngine).weight;
  const placementOf = (model: Model) =>
    placements.find((p) => modelKey(p.model) === modelKey(model.name))!;
  const isHead = (model: Model) => {
    const { ranks, parallel } = placementOf(model);
    const { tp, pp } = coordinatesOf(ranks.indexOf(rank), parallel);
    return tp === 0 && pp === parallel.pipelineParallelSize - 1;
  };
  /** One call: all ranks of the mesh meet; returns what each data-parallel index brought, in order. */
  const together = async <T>(model: Model, method: string, input: SequenceSample, value: T) => {
    const { ranks, parallel } = placementOf(model);
    const call = { rank, model: modelKey(model.name), method, ids: input.ids };
    cluster.calls.push({ ...call, phase: 'begin' });
    await cluster.during?.({ ...call, phase: 'begin' });
    if (!Number.isFinite(weightOf(model))) throw new Error(`${call.model} is empty in ${method}`);
    const all = await cluster.meetings.meet(`${call.model}.${method}`, ranks, rank, {
      value,
      ids: input.ids.join(),
    });
    const parts: T[] = [];
    const idsOf: string[] = [];
    ranks.forEach((r, i) => {
      const { dp } = coordinatesOf(i, parallel);
      const got = all.get(r)!;
      if ((idsOf[dp] ??= got.ids) !== got.ids) throw new Error(`${method}: ${idsOf[dp]}, ${got.ids}`);
      parts[dp] = got.value;
    });
    cluster.calls.push({ ...call, phase: 'end' });
    return parts;
  };
  /** Nobody may look at what ranks that are not heads return. */
  const output = (
    model: Model,
    input: SequenceSample,
    seqlens: readonly number[],
    data: Parameters<typeof SequenceSample.fromDefault>[0]['data'],
  ) =>
    isHead(model)
      ? SequenceSample.fromDefault({ ids: input.ids, seqlens, data })
      : SequenceSample.fromDefault({ ids: ['nobody'], seqlens: [1], data: {} });
  const perToken = async (model: Model, input: SequenceSample, key: string, less: number) => {
    await together(model, 'inference', input, null);
    const lens = input.lengths('packed_input_ids');
    const cu = input.cuSeqlens('packed_input_ids');
    const tokens = input.i32('packed_input_ids');
    const out = lens.flatMap((l, i) =>
      Array.from({ length: less < 0 ? 1 : l - less }, (_, t) => weightOf(model) + tokens[cu[i]! + t]!),
    );
    return output(model, input, lens, { [key]: Float32Array.from(out) });
  };
  const train = async (model: Model, input: SequenceSample) => {
    let sum = 0;
    for (const key of input.keys) for (const x of input.get(key)) sum += x;
    const parts = await together(model, 'trainStep', input, { sum, n: input.bs });
    const n = parts.reduce((a, p) => a + p.n, 0);
    const loss = parts.reduce((a, p) => a + p.sum, 0) / n;
    const engine = model.engine as FakeEngine;
    engine.weight = grid(engine.weight * 0.5 + (loss % 7) + model.version.globalStep / 8);
    return { loss, weight: engine.weight, items_sum: input.bs, mean_bs: sum / input.bs };
  };
  const registry = createRegistry<(args: Readonly<Record<string, unknown>>) => ModelInterface>(
    'interface',
  );
  registry.register('ppo_actor', (args) => ({
    enableSave: args['enable_save'] !== false,
    async generate(model, input) {
      await together(model, 'generate', input, null);
      const lens = input.lengths('packed_prompts');
      const cu = input.cuSeqlens('packed_prompts');
      const prompt = input.i32('packed_prompts');
      const ids = lens.flatMap((l, i) => [
        ...prompt.subarray(cu[i], cu[i]! + l),
        Math.abs(Math.round(weightOf(model) * 64)) % 97,
        model.version.globalStep,
      ]);
      return output(
        model,
        input,
        lens.map((l) => l + 2),
        {
          packed_input_ids: Int32Array.from(ids),
          packed_logprobs: new Float32Array(ids.length - lens.length).fill(-weightOf(model)),
          prompt_mask: new Uint8Array(ids.length),
          seq_no_eos_mask: new Uint8Array(lens.length),
        },
      );
    },
    inference: (model, input) => perToken(model, input, 'packed_ref_logprobs', 1),
    trainStep: train,
  }));
  registry.register('ppo_critic', () => ({
    inference: (model, input) => perToken(model, input, 'values', 0),
    trainStep: train,
  }));
  registry.register('paired_rw', () => ({
    inference: (model, input) => perToken(model, input, 'rewards', -1),
  }));
  registry.register('sft', () => ({
    trainStep: train,
    async evaluate(model, batches) {
      let items = 0;
      for await (const batch of batches) {
        await together(model, 'evaluate', batch, null);
        items += batch.bs;
      }
      return { weight: weightOf(model), items_sum: items };
    },
  }));
  return registry;
}
