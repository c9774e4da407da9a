/** The session on a made-up in-memory device, over loopback: values, EMA, memory, and errors that name what is missing. */
import { describe, expect, it } from 'vitest';
import { CommError } from '@realhf/api';
import type { HostArray, Ops, Tensor, TensorCommunicator } from '@realhf/api';
import { fill, layout, shardMaps, testModel } from './__fixtures__/layouts.js';
import { planOf } from './__fixtures__/run-plan.js';
import { loopbackCommunicators } from './loopback.js';
import { ReallocSession } from './realloc-session.js';
import { stagedCollectives } from './staged.js';

interface MemoryTensor extends Tensor {
  readonly data: HostArray;
}
const dataOf = (t: Tensor) => (t as MemoryTensor).data;

/** The methods that a session calls; every other one throws. Halves keep the upper 16 bits. */
function memoryOps(): { ops: Ops; live: Set<Tensor>; uploads: () => number } {
  const live = new Set<Tensor>();
  let uploads = 0;
  const make = (array: HostArray, shape: readonly number[], dtype: 'f32' | 'u32' = 'f32') => {
    const t: MemoryTensor = { shape, dtype, size: array.length, data: array };
    live.add(t);
    return t;
  };
  const cut = (x: number) => {
    const bits = new Uint32Array(Float32Array.of(x).buffer);
    bits[0]! &= 0xffff0000;
    return new Float32Array(bits.buffer)[0]!;
  };
  const methods: Partial<Ops> = {
    empty: ([n], dtype) =>
      dtype === 'u32'
        ? make(new Uint32Array(n!).fill(9), [n!], 'u32')
        : make(new Float32Array(n!).fill(NaN), [n!]),
    fromHost: (array, shape, dtype) => {
      uploads++;
      return make(array.slice(), shape, dtype as 'u32');
    },
    view: (t, offset, shape) => ({
      ...t,
      shape,
      size: shape[0]! * shape[1]!,
      data: dataOf(t).subarray(offset, offset + shape[0]! * shape[1]!),
    }),
    free: (...tensors) => {
      for (const t of tensors) expect(live.delete(t)).toBe(true);
    },
    write: (t, data) => {
      dataOf(t).set(data);
    },
    read: (t) => Promise.resolve(Float32Array.from(dataOf(t))),
    readInts: (t) => Promise.resolve(Int32Array.from(dataOf(t))),
    flush: () => undefined,
    copyBlocks: ({ src, blocks, total, dst, aligned, eta = 1, toHalf }) => {
      const b = dataOf(blocks);
      for (let i = 0; i < b.length; i += 6) {
        const [first, from, to, run, srcStride, dstStride] = b.subarray(i, i + 6) as Uint32Array &
          [number, number, number, number, number, number];
        if (aligned) for (const n of b.subarray(i, i + 6)) expect(n % 4).toBe(0);
        for (let n = 0; n < (b[i + 6] ?? total) - first; n++) {
          const [row, e] = [Math.floor(n / run), n % run];
          const x = dataOf(src)[from + row * srcStride + e]!;
          const at = to + row * dstStride + e;
          dataOf(dst)[at] =
            eta * (toHalf ? cut(x) : x) + (1 - eta) * (eta === 1 ? 0 : dataOf(dst)[at]!);
        }
      }
    },
    packHalves: (floats, words) => {
      const bits = new Uint32Array(Float32Array.from(dataOf(floats)).buffer);
      for (let i = 0; i < words.size; i++)
        dataOf(words)[i] = (bits[2 * i]! >>> 16) | ((bits[2 * i + 1] ?? 0) & 0xffff0000);
    },
    unpackHalves: (words, floats) => {
      const bits = Uint32Array.from({ length: floats.size }, (_, i) =>
        i % 2 === 0 ? dataOf(words)[i >> 1]! << 16 : dataOf(words)[i >> 1]! & 0xffff0000,
      );
      dataOf(floats).set(new Float32Array(bits.buffer));
    },
  };
  const ops = new Proxy(methods, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (method === undefined) throw new Error(`not in this test: ${String(name)}`);
      return method;
    },
  });
  return { ops: ops as Ops, live, uploads: () => uploads };
}

const layers = 2;
const model = testModel(layers);
const tensors = (ops: Ops, segments: readonly Float32Array[]) =>
  segments.map((s) => ops.fromHost(s, [s.length]));

describe('ReallocSession', () => {
  it.each(
    [1, 0.25].flatMap((eta) =>
      (['host', 'device'] as const).flatMap((over) =>
        (['f32', 'f16'] as const).flatMap((wire) =>
          [1, 3].map((depth) => ({ eta, over, wire, depth })),
        ),
      ),
    ),
  )('moves pp2 tp2 to dp3 tp1 twice: $eta $over $wire depth $depth', async (how) => {
    const { eta, over, wire, depth } = how;
    const x = shardMaps(model, layers, layout(2, 1, 2));
    const y = shardMaps(model, layers, layout(1, 3, 1));
    const targetRanks = [3, 4, 5];
    const plan = planOf(x, y, { targetRanks, maxElements: 50, nodeOf: (r) => r >> 1 });
    const results = await Promise.all(
      loopbackCommunicators(6).map(async (comm, rank) => {
        const { ops, live, uploads } = memoryOps();
        const t = targetRanks.indexOf(rank);
        const source =
          x[rank] &&
          tensors(
            ops,
            fill(x[rank], (g) => g),
          );
        const target =
          y[t] &&
          tensors(
            ops,
            fill(y[t], (g) => 4 * g),
          );
        const held = live.size;
        const session = new ReallocSession({
          plan,
          rank,
          ops,
          wire,
          depth,
          ...(over === 'host' ? { comm } : { tensors: stagedCollectives(comm, ops) }),
        });
        const before = uploads();
        const sides = { ...(source && { source }), ...(target && { target }) };
        await session.run({ ...sides, eta });
        const once = target && (await Promise.all(target.map((s) => ops.read(s))));
        await session.run(sides);
        expect(uploads()).toBe(before);
        session.free();
        expect(live.size).toBe(held);
        await expect(session.run(sides)).rejects.toThrow(/was freed/);
        return { once, twice: target && (await Promise.all(target.map((s) => ops.read(s)))) };
      }),
    );
    targetRanks.forEach((rank, t) => {
      // Small integers survive the made-up halves.
      const now = fill(y[t]!, (g) => (wire === 'f16' ? cutInteger(g) : g));
      expect(results[rank]!.twice).toEqual(now);
      expect(results[rank]!.once).toEqual(
        fill(y[t]!, (g) => eta * (wire === 'f16' ? cutInteger(g) : g) + (1 - eta) * 4 * g),
      );
    });
  });
  /** Eight significant bits. */
  const cutInteger = (g: number) => {
    const step = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, g))) - 7);
    return Math.floor(g / step) * step;
  };

  it('needs no communicator on one rank; says what is missing', async () => {
    const x = shardMaps(model, layers, layout(1, 1, 1), 300);
    const y = shardMaps(model, layers, layout(1, 1, 1), 1 << 20);
    const { ops } = memoryOps();
    const source = tensors(
      ops,
      fill(x[0]!, (g) => g),
    );
    const target = tensors(
      ops,
      fill(y[0]!, () => 0),
    );
    const session = new ReallocSession({ plan: planOf(x, y), rank: 0, ops });
    await session.run({ source, target });
    expect((await ops.read(target[0]!)).filter((v) => v > 0)).toEqual(
      fill(y[0]!, (g) => g)[0]!.filter((v) => v > 0),
    );
    await expect(session.run({ source })).rejects.toThrow(
      /target on rank 0 has 1 segments.*nothing/,
    );
    await expect(session.run({ source: [], target })).rejects.toThrow(CommError);
    const away = planOf(x, y, { targetRanks: [1] });
    expect(() => new ReallocSession({ plan: away, rank: 1, ops })).toThrow(/no communicator/);
  });

  it('a peer that is gone is an error, not a hang', async () => {
    const x = shardMaps(model, layers, layout(1, 1, 1));
    const plan = planOf(x, x, { targetRanks: [1], maxElements: 100 });
    for (const device of [true, false]) {
      const [sender, receiver] = loopbackCommunicators(2);
      const { ops } = memoryOps();
      const target = tensors(
        ops,
        fill(x[0]!, () => 0),
      );
      const over: { tensors: TensorCommunicator } | { comm: typeof sender & object } = device
        ? { tensors: stagedCollectives(receiver!, ops) }
        : { comm: receiver! };
      const waiting = new ReallocSession({ plan, rank: 1, ops, ...over }).run({ target });
      await sender!.close();
      await expect(waiting).rejects.toThrow(CommError);
    }
  });
});
