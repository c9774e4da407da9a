/** The executor on a made-up in-memory device, over loopback: values, EMA, and errors that name what is missing. */
import { describe, expect, it } from 'vitest';
import { CommError } from '@realhf/api';
import type { HostArray, Ops, Tensor } from '@realhf/api';
import { fill, layout, shardMaps, testModel } from './__fixtures__/layouts.js';
import { loopbackCommunicators } from './loopback.js';
import { executeRealloc } from './realloc-execute.js';
import { planRealloc } from './realloc-plan.js';

interface MemoryTensor extends Tensor {
  readonly data: HostArray;
}

/** The five methods that the executor calls; every other one throws. */
function memoryOps(): { ops: Ops; live: Set<Tensor> } {
  const live = new Set<Tensor>();
  const data = (t: Tensor) => (t as MemoryTensor).data;
  const make = (array: HostArray, shape: readonly number[]): Tensor => {
    const t: MemoryTensor = { shape, dtype: 'f32', size: array.length, data: array };
    live.add(t);
    return t;
  };
  const each = (v: HostArray, f: (src: number, dst: number) => void) => {
    for (let i = 0; i < v.length; i += 3)
      for (let e = 0; e < v[i + 2]!; e++) f(v[i]! + e, v[i + 1]! + e);
  };
  const methods: Partial<Ops> = {
    empty: (shape) => make(new Float32Array(shape[0]!).fill(NaN), shape),
    fromHost: (array, shape) => make(array.slice(), shape),
    free: (...tensors) => {
      tensors.forEach((t) => live.delete(t));
    },
    read: (t, offset = 0, count = t.size) =>
      Promise.resolve(Float32Array.from(data(t).subarray(offset, offset + count))),
    flush: () => undefined,
    gatherIntervals: (src, intervals, dst) => {
      each(data(intervals), (s, d) => (data(dst)[d] = data(src)[s]!));
    },
    scatterIntervals: (src, intervals, dst, eta = 1) => {
      each(data(intervals), (s, d) => {
        data(dst)[d] = eta === 1 ? data(src)[s]! : eta * data(src)[s]! + (1 - eta) * data(dst)[d]!;
      });
    },
  };
  const ops = new Proxy(methods, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (method === undefined) throw new Error(`not in this test: ${String(name)}`);
      return method;
    },
  });
  return { ops: ops as Ops, live };
}

const layers = 2;
const model = testModel(layers);
const tensors = (ops: Ops, segments: readonly Float32Array[]) =>
  segments.map((s) => ops.fromHost(s, [s.length]));

describe('executeRealloc', () => {
  it.each([1, 0.25])('moves pp2 tp2 to dp2 tp1 with eta %f', async (eta) => {
    const x = shardMaps(model, layers, layout(2, 1, 2));
    const y = shardMaps(model, layers, layout(1, 2, 1));
    const targetRanks = [3, 4];
    const plan = planRealloc(x, y, { targetRanks, maxElements: 50, grain: 20 });
    const comms = loopbackCommunicators(5);
    const results = await Promise.all(
      comms.map(async (comm, rank) => {
        const { ops, live } = memoryOps();
        const t = targetRanks.indexOf(rank);
        const source = x[rank]
          ? tensors(
              ops,
              fill(x[rank], (g) => g),
            )
          : undefined;
        const target = y[t]
          ? tensors(
              ops,
              fill(y[t], (g) => 4 * g),
            )
          : undefined;
        const held = live.size;
        await executeRealloc(plan, rank, {
          ops,
          comm,
          eta,
          ...(source && { source }),
          ...(target && { target }),
        });
        expect(live.size).toBe(held);
        return target && Promise.all(target.map((s) => ops.read(s)));
      }),
    );
    targetRanks.forEach((rank, t) => {
      expect(results[rank]).toEqual(fill(y[t]!, (g) => eta * g + (1 - eta) * 4 * g));
    });
  });

  it('needs no communicator on one rank', async () => {
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
    await executeRealloc(planRealloc(x, y), 0, { ops, source, target });
    expect(await ops.read(target[0]!)).toEqual(fill(y[0]!, (g) => g)[0]);
    await expect(executeRealloc(planRealloc(x, y), 0, { ops, source })).rejects.toThrow(
      /needs its target/,
    );
    await expect(executeRealloc(planRealloc(x, y), 0, { ops, source: [], target })).rejects.toThrow(
      CommError,
    );
  });

  it('a peer that is gone is an error, not a hang', async () => {
    const x = shardMaps(model, layers, layout(1, 1, 1));
    const plan = planRealloc(x, x, { targetRanks: [1] });
    const [sender, receiver] = loopbackCommunicators(2);
    const { ops } = memoryOps();
    const target = tensors(
      ops,
      fill(x[0]!, () => 0),
    );
    const waiting = executeRealloc(plan, 1, { ops, comm: receiver!, target });
    await sender!.close();
    await expect(waiting).rejects.toThrow(CommError);
  });
});
