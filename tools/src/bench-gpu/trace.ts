/** A PPO iteration as a trace of Chrome's format: a lane of MFCs and one of what the GPU did. */
import type { ChromeTrace, TraceEvent } from '@realhf/dataflow';

import type { PpoPart } from './ppo.js';

/** Each MFC's passes begin where the MFC does: the two clocks are not otherwise compared. */
export function ppoTrace(parts: readonly PpoPart[]): ChromeTrace {
  const lanes = ['MFC', 'GPU'].map((name, tid): TraceEvent => ({
    name: 'thread_name',
    ph: 'M',
    pid: 0,
    tid,
    args: { name },
  }));
  const traceEvents = parts.flatMap((p) => {
    const ts = Math.round(1e6 * p.begin);
    const call: TraceEvent = {
      name: p.name,
      ph: 'X',
      pid: 0,
      tid: 0,
      ts,
      dur: Math.round(1e6 * p.seconds),
      args: { idle: Number(p.idle.toFixed(3)) },
    };
    const busy = p.busy.map(({ begin, end }): TraceEvent => ({
      name: 'passes',
      ph: 'X',
      pid: 0,
      tid: 1,
      ts: ts + Math.round(begin / 1000),
      dur: Math.round((end - begin) / 1000),
      args: {},
    }));
    return [call, ...busy];
  });
  return { traceEvents: [...lanes, ...traceEvents], displayTimeUnit: 'ms' };
}
