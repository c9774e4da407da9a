/** Loopback: values, order, determinism, and that everything that would hang is a CommError. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CommError } from '@realhf/api';
import type { Communicator } from '@realhf/api';
import { loopbackCommunicators } from './loopback.js';

const all = <T>(comms: readonly Communicator[], f: (c: Communicator) => Promise<T>) =>
  Promise.all(comms.map(f));
const settled = (comms: readonly Communicator[], f: (c: Communicator) => Promise<unknown>) =>
  Promise.allSettled(comms.map(f)).then((rs) =>
    rs.map((r) => (r.status === 'rejected' ? (r.reason as Error).message : 'ok')),
  );

describe('messages', () => {
  it('are ordered per pair and copied', async () => {
    const [a, b] = loopbackCommunicators(2);
    const data = new Float32Array([1, 2]);
    await a!.send(1, data);
    data.fill(9);
    await a!.send(1, data);
    const into = new Float32Array(2);
    await b!.recv(0, into);
    expect([...into]).toEqual([1, 2]);
    await b!.recv(0, into);
    expect([...into]).toEqual([9, 9]);
  });
  it('wait for a sender, keep lanes apart, reach the rank itself', async () => {
    const [a, b, c] = loopbackCommunicators(3);
    const fromA = new Int32Array(1);
    const fromC = new Int32Array(1);
    const waits = [b!.recv(0, fromA), b!.recv(2, fromC)];
    await c!.send(1, new Int32Array([3]));
    await a!.send(1, new Int32Array([1]));
    await Promise.all(waits);
    expect([fromA[0], fromC[0]]).toEqual([1, 3]);
    await a!.send(0, new Int32Array([7]));
    await a!.recv(0, fromA);
    expect(fromA[0]).toBe(7);
  });
  it('of another length or type are errors', async () => {
    const [a, b] = loopbackCommunicators(2);
    await a!.send(1, new Float32Array(2));
    await expect(b!.recv(0, new Float32Array(3))).rejects.toThrow(/expected 3 × f32, got 2 × f32/);
    await a!.send(1, new Float32Array(2));
    await expect(b!.recv(0, new Int32Array(2))).rejects.toThrow(/2 × i32, got 2 × f32/);
    await expect(a!.send(2, new Float32Array(1))).rejects.toThrow(CommError);
  });
});

describe('collectives', () => {
  it('broadcast, gather, reduce, scatter', async () => {
    const comms = loopbackCommunicators(3);
    await all(comms, async (c) => {
      const x = new Uint32Array([c.rank, 10 * c.rank]);
      await c.broadcast(x, 1);
      expect([...x]).toEqual([1, 10]);
      const sum = new Float32Array([c.rank, 1]);
      await c.allReduce(sum);
      expect([...sum]).toEqual([3, 3]);
      const max = new Float64Array([c.rank, 1 - c.rank]);
      await c.allReduce(max, 'max');
      expect([...max]).toEqual([2, 1]);
      const into = new Int32Array(6);
      await c.allGather(new Int32Array([c.rank, c.rank + 5]), into);
      expect([...into]).toEqual([0, 5, 1, 6, 2, 7]);
      const piece = new Float32Array(2);
      await c.reduceScatter(
        Float32Array.from({ length: 6 }, (_, i) => i + c.rank),
        piece,
      );
      expect([...piece]).toEqual([3 * (2 * c.rank) + 3, 3 * (2 * c.rank + 1) + 3]);
      await c.barrier();
    });
  });
  it('sum in rank order, whoever comes last', async () => {
    // In f32, (1e8 + 1) − 1e8 is 0 and (1e8 − 1e8) + 1 is 1.
    const values = [1e8, 1, -1e8];
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
      [1, 2, 0],
    ]) {
      const comms = loopbackCommunicators(3);
      const sums = await Promise.all(
        order.map(async (r) => {
          const x = new Float32Array([values[r]!]);
          await comms[r]!.allReduce(x);
          return x[0];
        }),
      );
      expect(sums).toEqual([0, 0, 0]);
    }
  });
  it('gather in place', async () => {
    await all(loopbackCommunicators(2), async (c) => {
      const into = new Float32Array(4);
      const mine = into.subarray(2 * c.rank, 2 * c.rank + 2).fill(c.rank + 1);
      await c.allGather(mine, into);
      expect([...into]).toEqual([1, 1, 2, 2]);
    });
  });
  it('do not mix with messages', async () => {
    await all(loopbackCommunicators(2), async (c) => {
      await c.send(1 - c.rank, new Float32Array([c.rank]));
      await c.barrier();
      const x = new Float32Array([1]);
      await c.allReduce(x);
      const got = new Float32Array(1);
      await c.recv(1 - c.rank, got);
      expect([x[0], got[0]]).toEqual([2, 1 - c.rank]);
    });
  });
  it('a rank alone', async () => {
    const [c] = loopbackCommunicators(1);
    const x = new Float32Array([4]);
    await c!.allReduce(x);
    await c!.barrier();
    expect(x[0]).toBe(4);
  });
  it('that differ are errors on every rank', async () => {
    const comms = loopbackCommunicators(3);
    const lengths = await settled(comms, (c) =>
      c.allReduce(new Float32Array(c.rank === 1 ? 2 : 1)),
    );
    for (const m of lengths) expect(m).toMatch(/ranks disagree/);
    const kinds = await settled(comms, (c) =>
      c.rank === 2 ? c.barrier() : c.broadcast(new Float32Array(0), 0),
    );
    for (const m of kinds) expect(m).toMatch(/broadcast from 0.*barrier/);
    // And the group works on.
    expect(await settled(comms, (c) => c.barrier())).toEqual(['ok', 'ok', 'ok']);
    const into = comms[0]!.allGather(new Float32Array(2), new Float32Array(5));
    await expect(into).rejects.toThrow(/needs 6/);
    await expect(comms[0]!.reduceScatter(new Float32Array(4), new Float32Array(1))).rejects.toThrow(
      CommError,
    );
  });
});

describe('groups', () => {
  it('are numbered in the order given, apart from each other', async () => {
    await all(loopbackCommunicators(4), async (c) => {
      const pair = c.rank < 2 ? [1, 0] : [2, 3];
      const g = c.group(pair)!;
      const twin = c.group(pair)!;
      expect(g.rank).toBe(pair.indexOf(c.rank));
      expect(c.group(c.rank === 0 ? [1, 2] : [0])).toBeUndefined();
      const x = new Float32Array([c.rank]);
      const y = new Float32Array([1]);
      await Promise.all([g.allReduce(x), twin.allReduce(y)]);
      expect([x[0], y[0]]).toEqual([c.rank < 2 ? 1 : 5, 2]);
    });
    expect(() => loopbackCommunicators(2)[0]!.group([0, 2])).toThrow(CommError);
    expect(() => loopbackCommunicators(2)[0]!.group([0, 0])).toThrow(CommError);
  });
});

describe('timers', () => {
  afterEach(() => {
    vi.useRealTimers();
  });
  it('are gone with what they guard', async () => {
    vi.useFakeTimers();
    const [a, b] = loopbackCommunicators(2);
    const waits = [a!.recv(1, new Float32Array(1)), a!.barrier()];
    await vi.advanceTimersByTimeAsync(1);
    expect(vi.getTimerCount()).toBe(2);
    await b!.send(0, new Float32Array(1));
    await b!.barrier();
    await Promise.all(waits);
    expect(vi.getTimerCount()).toBe(0);
    const lost = Promise.allSettled([a!.recv(1, new Float32Array(1)), a!.barrier()]);
    await b!.close();
    await lost;
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('nothing hangs', () => {
  it('when a peer closes, before or after the call', async () => {
    const [a, b, c] = loopbackCommunicators(3);
    const sub = a!.group([0, 1])!;
    await b!.send(0, new Float32Array([5]));
    const waits = [a!.recv(1, new Float32Array(1)), a!.recv(1, new Float32Array(1)), a!.barrier()];
    const subWait = sub.barrier();
    // What fails below is looked at together.
    const results = Promise.allSettled([...waits, subWait]);
    b!.group([0, 1]);
    await b!.close();
    await b!.close();
    expect((await results).map((r) => r.status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
    ]);
    await expect(a!.send(1, new Float32Array(1))).rejects.toThrow(/rank 1 is closed/);
    await expect(a!.recv(1, new Float32Array(1))).rejects.toThrow(/rank 1 is closed/);
    await expect(c!.barrier()).rejects.toThrow(CommError);
    await expect(c!.barrier()).rejects.toThrow(/rank 1 is closed/);
    await expect(b!.barrier()).rejects.toThrow(/this rank is closed/);
    await expect(a!.group([0, 1])!.barrier()).rejects.toThrow(CommError);
  });
  it('when the sub-group was never asked for by a peer that closed', async () => {
    const [a, b] = loopbackCommunicators(2);
    const sub = a!.group([0, 1])!;
    const waits = Promise.allSettled([sub.barrier(), sub.recv(1, new Float32Array(1))]);
    await b!.close();
    expect((await waits).map((r) => r.status)).toEqual(['rejected', 'rejected']);
  });
  it('when a peer never comes', async () => {
    const [a, b] = loopbackCommunicators(2, { timeoutMs: 5 });
    await expect(a!.recv(1, new Float32Array(1))).rejects.toThrow(/nothing from rank 1 in 5 ms/);
    await expect(a!.barrier()).rejects.toThrow(/rank 1 did not come in 5 ms/);
    // The one that comes too late hears of it.
    await expect(b!.barrier()).rejects.toThrow(/did not come/);
    // A message after the time-out is not lost.
    await b!.send(0, new Float32Array([3]));
    const x = new Float32Array(1);
    await a!.recv(1, x);
    expect(x[0]).toBe(3);
  });
});
