/**
 * Dispatcher: sends one MFC call to all its ranks and puts their replies together. All requests of a call go out in one
 * turn of the event loop, and a worker answers in order; so every worker sees calls and hooks in one common order, and
 * collectives can't cross. Calls on disjoint meshes run at the same time, others queue at the workers they share.
 */
import {
  modelKey,
  type MFCDef,
  type ModelVersion,
  type SequenceSample,
  type Stats,
} from '@realhf/api';
import { SequenceSample as Sample } from '@realhf/api';
import { planCall, type OutsideHooks } from './call-plan.js';
import type { Graph } from './graph.js';
import { KeyOwners } from './key-owners.js';
import { mergeStats } from './merge-stats.js';
import {
  decodeMeta,
  errorOf,
  type ReplyTo,
  type Request,
  type Span,
  type StepPosition,
} from './protocol.js';
import type { Sites } from './sites.js';
import type { Stream } from './stream.js';

/** What one worker did for an MFC, in seconds of the master's clock. */
export interface Interval {
  readonly mfc: string;
  readonly worker: string;
  readonly kind: Span['kind'];
  readonly begin: number;
  readonly end: number;
}

/** What a call gave, over all of its workers. */
export interface CallResult {
  /** New keys of the whole batch; undefined for a train_step. */
  readonly made: SequenceSample | undefined;
  /** Of the heads: means weighted by items, or sums of names that end in `_sum`. */
  readonly stats: Stats;
  /** Of the slowest rank, by its own clock. */
  readonly seconds: number;
  readonly intervals: readonly Interval[];
}

export interface DispatcherOptions {
  readonly graph: Graph;
  readonly stream: Stream;
  readonly sites: Sites;
  readonly onFailure?: ((error: Error) => void) | undefined;
}

export class Dispatcher {
  readonly owners = new KeyOwners();
  /** Per worker: seconds to add to its clock to get the master's. */
  readonly clockOffsets = new Map<string, number>();
  private readonly stream: Stream;
  private readonly sites: Sites;
  private readonly onFailure: ((error: Error) => void) | undefined;
  /** Role → model key of its trainer. */
  private readonly trainers: ReadonlyMap<string, string>;
  /** Of the replicas that train, by role. */
  private readonly versions = new Map<string, ModelVersion>();

  constructor({ graph, stream, sites, onFailure }: DispatcherOptions) {
    this.stream = stream;
    this.sites = sites;
    this.onFailure = onFailure;
    this.trainers = new Map(
      [...graph.nodes.values()].flatMap(({ mfc }) =>
        mfc.interfaceType === 'train_step' ? [[mfc.model.role, modelKey(mfc.model)] as const] : [],
      ),
    );
  }

  /** Forgets items; versions come from a checkpoint, by model key. */
  reset(versionOf: (modelKey: string) => ModelVersion | undefined): void {
    this.owners.clear();
    this.versions.clear();
    for (const [role, key] of this.trainers) {
      const version = versionOf(key);
      if (version) this.versions.set(role, { ...version });
    }
  }

  /** The same request to several workers; waits for all, throws the error that came first but prefers causes to lost peers. */
  async all<R extends Request>(
    requests: readonly (readonly [worker: string, message: R])[],
  ): Promise<ReplyTo<R>[]> {
    const errors: Error[] = [];
    const replies = await Promise.all(
      requests.map(([worker, message]) =>
        this.stream.request(worker, message).catch((e: unknown) => {
          const error = e instanceof Error ? e : new Error(String(e));
          if (errors.push(error) === 1) this.onFailure?.(error);
          return undefined;
        }),
      ),
    );
    const error = errors.find((e) => e.name !== 'CommError') ?? errors[0];
    if (error) throw error;
    return replies as ReplyTo<R>[];
  }

  /** Sends at once, before the first await. Throws the worker's error, saying where it happened. */
  async call(mfc: MFCDef, at: StepPosition, batch: SequenceSample): Promise<CallResult> {
    try {
      return await this.send(mfc, at, batch);
    } catch (e) {
      throw callError(e, mfc, at, batch.ids);
    }
  }

  private async send(mfc: MFCDef, at: StepPosition, batch: SequenceSample): Promise<CallResult> {
    const plan = planCall(mfc, batch, this.sites);
    const sizeOf = sizesOf(batch);
    const isReplica = (this.trainers.get(mfc.model.role) ?? '') !== modelKey(mfc.model);
    const version = isReplica ? this.versions.get(mfc.model.role) : undefined;
    const calls = plan.ranks.map(({ worker, ids, isHead }) => {
      const pulls = this.owners.plan(worker, ids, mfc.inputKeys, sizeOf);
      this.owners.expect(worker, ids, mfc.inputKeys);
      return [
        worker,
        {
          type: mfc.interfaceType,
          mfc: mfc.name,
          ids,
          pulls,
          preHooks: plan.preHooks,
          postHooks: plan.postHooks,
          at,
          isHead,
          ...(version ? { version } : {}),
        },
      ] as const;
    });
    const [replies, outside] = await Promise.all([
      this.all(calls),
      this.hooks(mfc, 'pre', plan.preOutside),
    ]);
    const intervals = [...outside];
    let seconds = 0;
    const samples: SequenceSample[] = [];
    const stats: Stats[] = [];
    plan.ranks.forEach(({ worker, ids, isHead }, i) => {
      const reply = replies[i]!;
      this.owners.confirm(worker, ids, mfc.inputKeys);
      intervals.push(...this.aligned(mfc.name, worker, reply.spans));
      seconds = Math.max(seconds, (reply.spans.at(-1)?.end ?? 0) - (reply.spans[0]?.begin ?? 0));
      if (!isHead) return;
      stats.push(reply.stats);
      if (reply.sample === null) return;
      const made = decodeMeta(reply.sample);
      this.owners.add(worker, made.ids, mfc.outputKeys);
      samples.push(made);
    });
    if (mfc.interfaceType === 'train_step')
      this.versions.set(mfc.model.role, { ...replies[0]!.version });
    intervals.push(...(await this.hooks(mfc, 'post', plan.postOutside)));
    return {
      made: samples.length > 0 ? Sample.gather(samples) : undefined,
      stats: mergeStats(stats, plan.partSizes),
      seconds,
      intervals,
    };
  }

  private async hooks(
    mfc: MFCDef,
    phase: 'pre' | 'post',
    byWorker: OutsideHooks,
  ): Promise<Interval[]> {
    const workers = [...byWorker.keys()];
    const replies = await this.all(
      workers.map((w) => [w, { type: 'hook', mfc, phase, hooks: byWorker.get(w)! }] as const),
    );
    return workers.flatMap((w, i) => this.aligned(mfc.name, w, replies[i]!.spans));
  }

  private aligned(mfc: string, worker: string, spans: readonly Span[]): Interval[] {
    const shift = this.clockOffsets.get(worker) ?? 0;
    return spans.map(({ kind, begin, end }) => ({
      mfc,
      worker,
      kind,
      begin: begin + shift,
      end: end + shift,
    }));
  }
}

/** Elements of a key of an item. */
function sizesOf(batch: SequenceSample): (id: string, key: string) => number {
  const index = new Map(batch.ids.map((id, i) => [id, i]));
  return (id, key) => batch.seqlens[key]![index.get(id)!]!.reduce((a, b) => a + b, 0);
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
