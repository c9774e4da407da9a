/**
 * A run as a trace of Chrome's Trace Event Format, which Perfetto (ui.perfetto.dev) shows: one process per worker, with
 * a lane for calls and one for what surrounds them. Times start at the first event.
 */
import type { Interval } from './dispatcher.js';

/** The part of a StepRecord that a trace needs. */
export interface TracedStep {
  readonly step: number;
  readonly intervals: readonly Interval[];
}

/** An event of Chrome's trace format; times in microseconds. */
export interface TraceEvent {
  readonly name: string;
  readonly cat?: string;
  /** X: from ts for dur; M: a name. */
  readonly ph: 'X' | 'M';
  /** Worker, in order of their numbers. */
  readonly pid: number;
  /** Lane: 0 calls, 1 transfer, realloc and offload. */
  readonly tid: number;
  /** Microseconds. */
  readonly ts?: number;
  readonly dur?: number;
  readonly args: Readonly<Record<string, string | number>>;
}

/** A file that ui.perfetto.dev opens. */
export interface ChromeTrace {
  readonly traceEvents: readonly TraceEvent[];
  readonly displayTimeUnit: 'ms';
}

/** Pure; JSON.stringify makes the file. */
export function chromeTrace(records: Iterable<TracedStep>): ChromeTrace {
  const steps = [...records];
  const all = steps.flatMap((r) => r.intervals);
  const start = all.reduce((t, i) => Math.min(t, i.begin), Infinity);
  const workers = [...new Set(all.map((i) => i.worker))].sort(byNumber);
  const micros = (seconds: number) => Math.round(seconds * 1e6);
  const names = workers.flatMap((worker, pid): TraceEvent[] => [
    { name: 'process_name', ph: 'M', pid, tid: 0, args: { name: worker } },
    { name: 'process_sort_index', ph: 'M', pid, tid: 0, args: { sort_index: pid } },
    { name: 'thread_name', ph: 'M', pid, tid: 0, args: { name: 'calls' } },
    { name: 'thread_name', ph: 'M', pid, tid: 1, args: { name: 'data and parameters' } },
  ]);
  const events = steps.flatMap(({ step, intervals }) =>
    intervals.map(({ mfc, worker, kind, begin, end }): TraceEvent => {
      const ts = micros(begin - start);
      return {
        name: kind === 'call' ? mfc : `${kind} (${mfc})`,
        cat: kind,
        ph: 'X',
        pid: workers.indexOf(worker),
        tid: kind === 'call' ? 0 : 1,
        ts,
        dur: micros(end - start) - ts,
        args: { step, mfc },
      };
    }),
  );
  events.sort((a, b) => a.ts! - b.ts! || a.pid - b.pid);
  return { traceEvents: [...names, ...events], displayTimeUnit: 'ms' };
}

/** `model_worker/10` after `model_worker/9`. */
function byNumber(a: string, b: string): number {
  const number = (s: string) => Number(/[0-9]+$/.exec(s)?.[0] ?? -1);
  return number(a) - number(b) || (a < b ? -1 : 1);
}
