import { expect, it } from 'vitest';
import { chromeTrace } from './chrome-trace.js';
import type { Interval } from './dispatcher.js';

it('chromeTrace has a process per worker in order of rank, and every interval in microseconds', () => {
  const interval = (worker: number, kind: Interval['kind'], begin: number, end: number) => ({
    mfc: 'actor_gen',
    worker: `model_worker/${worker}`,
    kind,
    begin,
    end,
  });
  const trace = chromeTrace([
    { step: 3, intervals: [interval(10, 'call', 101, 102.5), interval(9, 'realloc', 100.5, 101)] },
    { step: 4, intervals: [interval(9, 'call', 103, 103)] },
  ]);
  const { traceEvents: events } = JSON.parse(JSON.stringify(trace)) as typeof trace;
  const names = events.filter((e) => e.name === 'process_name');
  expect(names.map((e) => [e.pid, e.args.name])).toEqual([
    [0, 'model_worker/9'],
    [1, 'model_worker/10'],
  ]);
  expect(events.filter((e) => e.ph === 'X')).toEqual([
    {
      name: 'realloc (actor_gen)',
      cat: 'realloc',
      ph: 'X',
      pid: 0,
      tid: 1,
      ts: 0,
      dur: 500_000,
      args: { step: 3, mfc: 'actor_gen' },
    },
    expect.objectContaining({ name: 'actor_gen', pid: 1, tid: 0, ts: 500_000, dur: 1_500_000 }),
    expect.objectContaining({ pid: 0, ts: 2_500_000, dur: 0, args: { step: 4, mfc: 'actor_gen' } }),
  ]);
  expect(chromeTrace([]).traceEvents).toEqual([]);
});
