/** Times recorded work by the wall clock: enough runs in one submit that its fixed cost does not show. */
import type { Recorder } from '@realhf/backends';

import type { Bench } from '../../../packages/backends/src/testing/bench.js';

/** At least so many seconds of work a submit. */
const submitSeconds = 0.02;

export interface Timing {
  readonly name: string;
  readonly flops?: number;
  readonly bytes?: number;
  /** Runs in one submit. */
  readonly times: number;
  /** Seconds of one run, by round. */
  readonly seconds: readonly number[];
}

/** The middle value; of an even number the higher of the two in the middle. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Times all benches in turn, `rounds` times over, after `warmMs` of work to bring the clocks up. */
export async function timeRounds(
  recorder: Recorder,
  benches: readonly Bench[],
  rounds: number,
  warmMs: number,
): Promise<Timing[]> {
  const once = async (run: () => void, times: number): Promise<number> => {
    await recorder.sync();
    const start = performance.now();
    for (let i = 0; i < times; i++) run();
    await recorder.sync();
    return (performance.now() - start) / 1000 / times;
  };
  const prepared: { bench: Bench; run: () => void; times: number; seconds: number[] }[] = [];
  for (const bench of benches) {
    const run = bench.setup(recorder);
    // The first run compiles, the second is still slow on some drivers.
    for (let i = 0; i < 2; i++) await once(run, 1);
    let times = 1;
    while (times < 1000 && (await once(run, times)) * times < submitSeconds) times *= 2;
    prepared.push({ bench, run, times, seconds: [] });
  }
  const warmUntil = performance.now() + warmMs;
  while (performance.now() < warmUntil)
    for (const { run, times } of prepared) await once(run, times);
  for (let round = 0; round < rounds; round++)
    for (const p of prepared) p.seconds.push(await once(p.run, p.times));
  return prepared.map(({ bench: { name, flops, bytes }, times, seconds }) => ({
    name,
    ...(flops === undefined ? {} : { flops }),
    ...(bytes === undefined ? {} : { bytes }),
    times,
    seconds,
  }));
}
