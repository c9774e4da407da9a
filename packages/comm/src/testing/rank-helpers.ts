/** What the communicator suite says over and over: all ranks at once, numbers whose sum depends on the order. */
import { expect } from 'vitest';

import type { Communicator } from '@realhf/api';

/** What can be waiting when a peer dies. */
export function operations(large: number) {
  type Run = (c: Communicator, group: Communicator, dead: number) => Promise<void>;
  const list: readonly (readonly [string, Run])[] = [
    ['barrier', (c) => c.barrier()],
    ['recv', (c, _, dead) => c.recv(dead, new Float32Array(3))],
    ['recv large', (c, _, dead) => c.recv(dead, new Float32Array(large))],
    ['allReduce', (c) => c.allReduce(new Float32Array(3))],
    ['allReduce large', (c) => c.allReduce(new Float64Array(large), 'max')],
    ['allGather', (c) => c.allGather(new Int32Array(large), new Int32Array(large * c.size))],
    ['reduceScatter', (c) => c.reduceScatter(new Float32Array(3 * c.size), new Float32Array(3))],
    ['broadcast from the dead', (c, _, dead) => c.broadcast(new Float32Array(large), dead)],
    ['in a group', (_, group) => group.allReduce(new Float32Array(2))],
  ];
  return list.map(([name, run]) => ({ name, run }));
}

export function ranks(size: number): number[] {
  return Array.from({ length: size }, (_, r) => r);
}

/** Numbers of many magnitudes, whose sum depends on the order. */
export function noise(i: number, rank: number): number {
  const bits = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(rank + 1, 0x85ebca6b);
  return Math.fround(bits * (1 << (bits & 15)));
}

export function sums(n: number, size: number): Float32Array {
  const out = Float32Array.from({ length: n }, (_, i) => noise(i, 0));
  for (let r = 1; r < size; r++) for (let i = 0; i < n; i++) out[i]! += noise(i, r);
  return out;
}

export function all<T>(
  comms: readonly Communicator[],
  run: (c: Communicator) => Promise<T>,
): Promise<T[]> {
  return Promise.all(comms.map(run));
}

/** `ok`, or the error, by communicator. */
export async function outcomes(
  comms: readonly Communicator[],
  run: (c: Communicator) => Promise<void>,
): Promise<string[]> {
  const results = await Promise.allSettled(comms.map((c) => run(c)));
  return results.map((r) => (r.status === 'fulfilled' ? 'ok' : String(r.reason)));
}

/** Lets what has been started get going: a turn of the event loop or two. */
export async function tick(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}

type Numbers = Float32Array | Float64Array | Int32Array | Uint32Array;

/** Bit-equal, without a test framework looking at a million elements one by one. */
export function expectEqual(a: Numbers, b: Numbers): void {
  const equal = a.length === b.length && a.every((v, i) => Object.is(v, b[i]));
  if (!equal) expect([...a.subarray(0, 64)]).toEqual([...b.subarray(0, 64)]);
  expect(equal).toBe(true);
}
