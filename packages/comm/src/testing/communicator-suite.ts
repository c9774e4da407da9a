/**
 * What every Communicator must do, whatever carries the bytes. A rank's part of a test is a function of its
 * communicator; the suite runs the parts of all ranks at once.
 */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';

import { CommError } from '@realhf/api';
import type { Communicator } from '@realhf/api';
import {
  all,
  expectEqual,
  noise,
  operations,
  outcomes,
  ranks,
  sums,
  tick,
} from './rank-helpers.js';

/** The communicators of one test, by rank. */
export interface World {
  readonly comms: readonly Communicator[];
  /** The rank dies: to the others it is gone without a word. */
  readonly kill: (rank: number) => void;
}

export interface SuiteOptions {
  /** A new world of `size` ranks. */
  readonly open: (size: number, timeoutMs: number) => Promise<World>;
  /** Sizes of worlds; default 1 to 8. */
  readonly sizes?: readonly number[];
  /** Elements of a message that goes in several pieces. */
  readonly large: number;
  /** Whether a death fails every operation of every rank, instead of those that need the dead one. */
  readonly deathFailsAll: boolean;
}

/** Registers the suite. */
export function communicatorSuite(name: string, options: SuiteOptions): void {
  const sizes = options.sizes ?? [1, 2, 3, 4, 5, 6, 7, 8];
  const opened: World[] = [];
  const open = async (size: number, timeoutMs = 30_000) => {
    const world = await options.open(size, timeoutMs);
    opened.push(world);
    return world;
  };
  afterEach(async () => {
    await Promise.all(opened.splice(0).flatMap((w) => w.comms.map((c) => c.close())));
  });

  describe(name, () => {
    describe.each(sizes)('%i ranks', (size) => {
      // Several pieces to a message are tried with few ranks; with many it would only take longer.
      const large = Math.ceil(options.large / (size > 3 ? 25 : 1)) + 1;
      const lengths = [0, 1, 2, 31, 1009, large];
      it('broadcast, reduce, gather, scatter, from each and to all', async () => {
        const { comms } = await open(size);
        for (const n of lengths) {
          const root = n % size;
          const [total, totals] = [sums(n, size), sums(n * size, size)];
          await all(comms, async (c) => {
            const x = Int32Array.from({ length: n }, (_, i) => i * 7 + c.rank);
            await c.broadcast(x, root);
            expectEqual(
              x,
              Int32Array.from({ length: n }, (_, i) => i * 7 + root),
            );

            const into = new Uint32Array(n * size);
            await c.allGather(
              Uint32Array.from({ length: n }, (_, i) => i * size + c.rank),
              into,
            );
            const gathered = (_: unknown, i: number) => (i % n) * size + Math.floor(i / n);
            expectEqual(into, Uint32Array.from({ length: n * size }, gathered));

            const sum = Float32Array.from({ length: n }, (_, i) => noise(i, c.rank));
            await c.allReduce(sum);
            expectEqual(sum, total);

            const max = Float64Array.from({ length: n }, (_, i) => -noise(i, c.rank));
            await c.allReduce(max, 'max');
            const least = (i: number) => Math.max(...ranks(size).map((r) => -noise(i, r)));
            expectEqual(
              max,
              Float64Array.from({ length: n }, (_, i) => least(i)),
            );

            const piece = new Float32Array(n);
            const data = Float32Array.from({ length: n * size }, (_, i) => noise(i, c.rank));
            const before = data.slice();
            await c.reduceScatter(data, piece);
            expectEqual(piece, totals.subarray(c.rank * n, (c.rank + 1) * n));
            expectEqual(data, before);
            await c.barrier();
          });
        }
      });
      it('messages, to each from each, in order', async () => {
        const { comms } = await open(size);
        const message = (from: number, to: number, k: number) => {
          const n = lengths[(from + to + k) % lengths.length]!;
          return Float32Array.from({ length: n }, (_, i) => noise(i + k, from * size + to));
        };
        await all(comms, async (c) => {
          // To itself a rank need not be able to send.
          const peers = ranks(size).filter((r) => r !== c.rank);
          const work = [0, 1, 2].flatMap((k) =>
            peers.flatMap((peer) => {
              const expected = message(peer, c.rank, k);
              const into = new Float32Array(expected.length).fill(NaN);
              const got = c.recv(peer, into).then(() => {
                expectEqual(into, expected);
              });
              return [got, c.send(peer, message(c.rank, peer, k))];
            }),
          );
          await Promise.all(work);
        });
      });
    });

    it('sends that come before their receive and receives that come before their send', async () => {
      const { comms } = await open(2);
      const [a, b] = [comms[0]!, comms[1]!];
      for (const n of [0, 1, 1009, options.large]) {
        const x = Uint32Array.from({ length: n }, (_, i) => i + n);
        const [early, late] = [new Uint32Array(n), new Uint32Array(n)];
        const sent = a.send(1, x);
        await Promise.all([a.barrier(), b.barrier()]);
        await Promise.all([sent, b.recv(0, early)]);
        const received = b.recv(0, late);
        await Promise.all([a.barrier(), b.barrier()]);
        await Promise.all([a.send(1, x), received]);
        expectEqual(early, x);
        expectEqual(late, x);
      }
    });
    it('any sums, bit for bit in rank order', async () => {
      const size = 3;
      const { comms } = await open(size);
      const floats = fc.array(fc.float({ noNaN: true, min: -(2 ** 99), max: 2 ** 99 }), {
        minLength: size,
        maxLength: 300,
      });
      await fc.assert(
        fc.asyncProperty(floats, async (values) => {
          const n = Math.floor(values.length / size);
          const parts = ranks(size).map((r) => Float32Array.from(values.slice(r * n, r * n + n)));
          const expected = parts[0]!.slice();
          for (const part of parts.slice(1)) part.forEach((v, i) => (expected[i]! += v));
          const sums = await all(comms, async (c) => {
            const x = parts[c.rank]!.slice();
            await c.allReduce(x);
            return x;
          });
          for (const x of sums) expectEqual(x, expected);
        }),
        { numRuns: 20 },
      );
    });
    it('gathers in place, and reduces into a part of its own data', async () => {
      const { comms } = await open(3);
      for (const n of [2, options.large]) {
        await all(comms, async (c) => {
          const into = new Float32Array(3 * n);
          await c.allGather(into.subarray(n * c.rank, n * (c.rank + 1)).fill(c.rank + 1), into);
          expectEqual(
            into,
            Float32Array.from({ length: 3 * n }, (_, i) => Math.floor(i / n) + 1),
          );
          const data = new Float32Array(3 * n).fill(c.rank + 1);
          const piece = data.subarray(n * c.rank, n * (c.rank + 1));
          await c.reduceScatter(data, piece);
          expectEqual(piece, new Float32Array(n).fill(6));
        });
      }
    });
    it('collectives called one upon another, and messages between them', async () => {
      const { comms } = await open(3);
      await all(comms, async (c) => {
        const xs = ranks(5).map((k) =>
          new Float32Array(k % 2 ? options.large : 3).fill(c.rank + k),
        );
        const got = new Float32Array(4);
        await Promise.all([
          ...xs.map((x) => c.allReduce(x)),
          c.send((c.rank + 1) % 3, new Float32Array(4).fill(c.rank)),
          c.recv((c.rank + 2) % 3, got),
          c.barrier(),
        ]);
        for (const [k, x] of xs.entries()) expectEqual(x, x.slice().fill(3 + 3 * k));
        expectEqual(got, new Float32Array(4).fill((c.rank + 2) % 3));
      });
    });

    it('groups: their own numbers, nested, twice the same, apart', async () => {
      const { comms } = await open(6);
      await all(comms, async (c) => {
        const half = c.group(c.rank < 3 ? [2, 1, 0] : [3, 4, 5])!;
        const twin = c.group(c.rank < 3 ? [2, 1, 0] : [3, 4, 5])!;
        expect(half.size).toBe(3);
        expect(half.rank).toBe(c.rank < 3 ? 2 - c.rank : c.rank - 3);
        expect(c.group([(c.rank + 1) % 6])).toBeUndefined();
        const pair = half.group([2, 0]);
        expect(pair?.rank).toBe([1, undefined, 0][half.rank]);
        const large = new Float32Array(options.large).fill(c.rank);
        const [x, y] = [new Float32Array([c.rank]), new Float32Array([1])];
        const z = new Float32Array([10 * c.rank]);
        const from = new Int32Array(1);
        await Promise.all([
          half.allReduce(x),
          twin.allReduce(y),
          c.allReduce(large),
          pair?.allReduce(z),
          half.send((half.rank + 1) % 3, new Int32Array([half.rank])),
          half.recv((half.rank + 2) % 3, from),
        ]);
        expect([x[0], y[0], from[0]]).toEqual([c.rank < 3 ? 3 : 12, 3, (half.rank + 2) % 3]);
        expect(z[0]).toBe(c.rank % 3 === 1 ? 10 * c.rank : c.rank < 3 ? 20 : 80);
        expectEqual(large, large.slice().fill(15));
        // The order of numbers, not of ranks, is the order of sums: (1e8 + 1) − 1e8 is 0 in f32.
        const w = new Float32Array([[1e8, 1, -1e8][half.rank]!]);
        await half.allReduce(w);
        expect(w[0]).toBe(0);
      });
      for (const odd of [[0, 6], [0, 0], [], [0.5], [-1]])
        expect(() => comms[0]!.group(odd)).toThrow(CommError);
    });

    it('lengths and types that differ are errors on both sides of a collective', async () => {
      const { comms } = await open(3);
      const [a, b] = [comms[0]!, comms[1]!];
      for (const n of [2, options.large]) {
        const lengths = await outcomes(comms, (c) =>
          c.allReduce(new Float32Array(c.rank === 1 ? n + 1 : n)),
        );
        for (const m of lengths) expect(m).toMatch(/ranks disagree/);
      }
      const kinds = await outcomes(comms, (c) =>
        c.rank === 2 ? c.barrier() : c.broadcast(new Float32Array(1), 0),
      );
      for (const m of kinds)
        expect(m).toMatch(/broadcast from 0.*barrier|barrier.*broadcast from 0/);
      for (const [sent, asked] of [
        [2, 3],
        [options.large, 3],
        [3, options.large],
      ] as const) {
        const send = a.send(1, new Float32Array(sent)).catch(() => undefined);
        const recv = b.recv(0, new Float32Array(asked));
        await expect(recv).rejects.toThrow(`expected ${asked} × f32, got ${sent} × f32`);
        await expect(recv).rejects.toThrow(CommError);
        await send;
      }
      const send = a.send(1, new Float32Array(2));
      await expect(b.recv(0, new Int32Array(2))).rejects.toThrow(/2 × i32, got 2 × f32/);
      await send.catch(() => undefined);
      await expect(a.send(3, new Float32Array(1))).rejects.toThrow(/outside 0…2/);
      await expect(a.allGather(new Float32Array(2), new Float32Array(5))).rejects.toThrow(
        /needs 6/,
      );
      const scatter = a.reduceScatter(new Float32Array(4), new Float32Array(1));
      await expect(scatter).rejects.toThrow(CommError);
    });

    describe('nothing hangs', () => {
      it('when a peer never comes: who, whom, what', async () => {
        const { comms } = await open(3, 40);
        const [a, b] = [comms[0]!, comms[1]!];
        await expect(a.recv(1, new Float32Array(1))).rejects.toThrow(
          /recv .*on (rank )?0\b.* rank 1\b.* 40 ms/,
        );
        const barriers = Promise.allSettled([a.barrier(), comms[2]!.barrier()]);
        for (const r of await barriers) {
          expect(r.status).toBe('rejected');
          expect(String((r as PromiseRejectedResult).reason)).toMatch(
            /barrier on rank [02]\b.*rank 1 did not come in 40 ms/,
          );
        }
        // The one that comes too late hears of it, unless it has all that it needs; and the group works on.
        expect((await outcomes([b], (c) => c.barrier()))[0]).toMatch(
          /^ok$|CommError.*did not come/,
        );
        const x = new Float32Array(1);
        await Promise.all([b.send(0, new Float32Array([3])), a.recv(1, x)]);
        expect(x[0]).toBe(3);
        await all(comms, (c) => c.barrier());
      });
      it.each([2, 3, 5])(
        'when one of %i dies: all that wait, and all that come later',
        async (n) => {
          const dead = n - 1;
          for (const what of operations(options.large)) {
            const { comms, kill } = await open(n, 2000);
            const alive = comms.slice(0, dead);
            const groups = comms.map((c) => c.group(ranks(n)));
            const started = performance.now();
            const waiting = outcomes(alive, (c) => what.run(c, groups[c.rank]!, dead));
            await tick();
            kill(dead);
            for (const m of await waiting)
              expect(m, what.name).toMatch(new RegExp(`CommError: .*rank ${dead}\\b`));
            const later = await outcomes(alive, (c) => what.run(c, groups[c.rank]!, dead));
            for (const m of later)
              expect(m, what.name).toMatch(new RegExp(`CommError: .*rank ${dead}\\b`));
            expect(performance.now() - started).toBeLessThan(2000);
          }
        },
      );
      it('when one dies, also for ranks that wait for others', async () => {
        const { comms, kill } = await open(4, 200);
        const pair = [comms[0]!.group([0, 1])!, comms[1]!.group([0, 1])];
        const into = () => new Float32Array(options.large);
        // 0 waits for 1, which waits for 2, which waits for the dead one.
        const waiting = outcomes(comms.slice(0, 3), (c) => c.recv(c.rank + 1, into()));
        const inPair = outcomes([pair[0]!], (c) => c.barrier());
        await tick();
        kill(3);
        for (const m of [...(await waiting), ...(await inPair)])
          expect(m).toMatch(options.deathFailsAll ? /CommError: .*rank 3\b/ : /CommError/);
      });
      it('when a peer closes; what it sent before can be received', async () => {
        const { comms } = await open(3, 5000);
        const [a, b, c] = [comms[0]!, comms[1]!, comms[2]!];
        await b.send(0, new Float32Array([5]));
        const sub = a.group([0, 1])!;
        const x = new Float32Array(1);
        const waits = [a.recv(1, x), a.recv(1, new Float32Array(1)), a.barrier(), sub.barrier()];
        const results = Promise.allSettled(waits);
        await Promise.all([b.close(), b.close()]);
        expect((await results).map((r) => r.status)).toEqual([
          'fulfilled',
          'rejected',
          'rejected',
          'rejected',
        ]);
        expect(x[0]).toBe(5);
        await expect(a.recv(1, x)).rejects.toThrow(/rank 1 is closed/);
        await expect(c.barrier()).rejects.toThrow(/rank 1 (is|was) closed/);
        await expect(b.barrier()).rejects.toThrow(/this rank is closed/);
        // The others go on without it.
        const others = [a.group([0, 2])!, c.group([0, 2])!];
        await all(others, (g) => g.barrier());
        await Promise.all([a.send(2, x), c.recv(0, x)]);
      });
      it('when a group is closed, the rest goes on', async () => {
        const { comms } = await open(2, 5000);
        const groups = comms.map((c) => c.group([1, 0])!);
        const inner = groups.map((g) => g.group([0, 1])!);
        const waits = outcomes([groups[0]!, inner[0]!], (g) => g.barrier());
        await groups[1]!.close();
        for (const m of await waits) expect(m).toMatch(/CommError/);
        await expect(inner[1]!.barrier()).rejects.toThrow(/closed/);
        await all(comms, (c) => c.barrier());
      });
    });
  });
}
