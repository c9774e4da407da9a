/** One step while it runs, and the record that it leaves. Pure bookkeeping; the master drives it. */
import { totalLength, type SequenceSample, type Stats } from '@realhf/api';
import type { Interval } from './dispatcher.js';
import type { Graph } from './graph.js';
import { mergeStats } from './merge-stats.js';
import type { StepPosition } from './protocol.js';

/** What a step did: statistics, times, and what is due after it. */
export interface StepRecord extends StepPosition {
  /** Steps of the whole training, for progress and remaining time. */
  readonly totalSteps: number;
  /** Items of the step in order of arrival. */
  readonly ids: readonly string[];
  /** By MFC. Of several calls: the mean, or the sum of names that end in `_sum`. */
  readonly stats: Readonly<Record<string, Stats>>;
  /** By MFC, on its slowest worker, summed over calls. */
  readonly seconds: Readonly<Record<string, number>>;
  /** By MFC, summed over calls: total length of the longest key that it reads or makes. */
  readonly tokens: Readonly<Record<string, number>>;
  /** By MFC, summed over calls; only of roles whose config the master knows. */
  readonly flops: Readonly<Record<string, number>>;
  /** What each worker did, by the master's clock. */
  readonly intervals: readonly Interval[];
  /** From the request for data to the last reply, by the master's clock. */
  readonly stepSeconds: number;
  readonly endOfEpoch: boolean;
  /** No step follows. */
  readonly last: boolean;
  /** Time to save, and `state()` is possible now. */
  readonly save: boolean;
  /** By model key, when it was time to evaluate. */
  readonly evalStats?: Readonly<Record<string, Stats>>;
  /** Things to tell the user, e.g. items dropped at the end of an epoch. */
  readonly notes: readonly string[];
}

interface Calls {
  started: number;
  done: number;
  readonly stats: Stats[];
  seconds: number;
  tokens: number;
  flops: number | undefined;
}

/** A step in flight. */
export class StepRun {
  readonly at: StepPosition;
  readonly ids: readonly string[];
  readonly began: number;
  private readonly graph: Graph;
  private readonly intervals: Interval[] = [];
  private readonly calls: ReadonlyMap<string, Calls>;

  constructor(graph: Graph, at: StepPosition, ids: readonly string[], began: number) {
    this.graph = graph;
    this.at = at;
    this.ids = ids;
    this.began = began;
    this.calls = new Map(
      graph.order.map((n) => [
        n,
        { started: 0, done: 0, stats: [], seconds: 0, tokens: 0, flops: undefined },
      ]),
    );
  }

  get finished(): boolean {
    return this.graph.order.every((n) => this.isDone(n));
  }
  /** All calls of the MFC have been started. */
  isStarted(mfc: string): boolean {
    return this.calls.get(mfc)!.started === this.graph.nodes.get(mfc)!.callsPerStep;
  }
  isDone(mfc: string): boolean {
    return this.calls.get(mfc)!.done === this.graph.nodes.get(mfc)!.callsPerStep;
  }

  start(mfc: string): void {
    this.calls.get(mfc)!.started += 1;
  }
  finish(
    mfc: string,
    result: {
      readonly seconds: number;
      readonly stats: Stats;
      readonly intervals: readonly Interval[];
    },
    samples: readonly SequenceSample[],
    flops?: number,
  ): void {
    const c = this.calls.get(mfc)!;
    c.done += 1;
    c.seconds += result.seconds;
    c.stats.push(result.stats);
    if (flops !== undefined) c.flops = (c.flops ?? 0) + flops;
    this.intervals.push(...result.intervals);
    c.tokens += Math.max(0, ...samples.flatMap((s) => Object.values(s.seqlens).map(totalLength)));
  }

  /** Everything but what only the master knows. */
  summary(): Pick<StepRecord, 'ids' | 'stats' | 'seconds' | 'tokens' | 'flops' | 'intervals'> &
    StepPosition {
    const by = <T>(f: (c: Calls) => T) =>
      Object.fromEntries([...this.calls].map(([n, c]) => [n, f(c)]));
    return {
      ...this.at,
      ids: this.ids,
      stats: by((c) => mergeStats(c.stats)),
      seconds: by((c) => c.seconds),
      tokens: by((c) => c.tokens),
      flops: Object.fromEntries(
        [...this.calls].flatMap(([n, c]) => (c.flops === undefined ? [] : [[n, c.flops]])),
      ),
      intervals: this.intervals,
    };
  }
}
