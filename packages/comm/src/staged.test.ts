import type { HostArray, ParallelGroups, Tensor } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { loopbackCommunicators } from './loopback.js';
import { stagedCollectives, tensorGroup } from './staged.js';

/** Tensors whose memory is an array here. */
interface HostTensor extends Tensor {
  readonly data: Float32Array | Int32Array;
}
const tensor = (data: HostTensor['data']): HostTensor => ({
  data,
  dtype: data instanceof Float32Array ? 'f32' : 'i32',
  shape: [data.length],
  size: data.length,
});
const host = (t: Tensor) => (t as HostTensor).data;
const ops = {
  read: (t: Tensor) => Promise.resolve(Float32Array.from(host(t))),
  readInts: (t: Tensor) => Promise.resolve(Int32Array.from(host(t))),
  write(t: Tensor, data: HostArray) {
    host(t).set(data);
  },
};
const floats = (...x: number[]) => tensor(Float32Array.of(...x));

/** Runs every rank of three. */
function ranks<T>(run: (comm: ReturnType<typeof stagedCollectives>) => Promise<T>): Promise<T[]> {
  return Promise.all(loopbackCommunicators(3).map((comm) => run(stagedCollectives(comm, ops))));
}

describe('stagedCollectives', () => {
  it('sums, gathers and scatters tensors', async () => {
    const out = await ranks(async (c) => {
      const sum = floats(c.rank, 1);
      await c.allReduce(sum);
      const all = floats(0, 0, 0, 0, 0, 0);
      await c.allGather(floats(c.rank, 10 * c.rank), all);
      const part = floats(0);
      await c.reduceScatter(floats(1, 2, 3 + c.rank), part);
      return [sum, all, part].map((t) => [...t.data]);
    });
    out.forEach(([sum, all, part], r) => {
      expect(sum).toEqual([3, 3]);
      expect(all).toEqual([0, 0, 1, 10, 2, 20]);
      expect(part).toEqual([[3], [6], [12]][r]);
    });
  });

  it('sends and broadcasts floats and integers', async () => {
    const out = await ranks(async (c) => {
      const got = tensor(Int32Array.of(0, 0));
      if (c.rank === 0) await c.send(1, tensor(Int32Array.of(-1, 2 ** 30 + 1)));
      if (c.rank === 1) await c.recv(0, got);
      const shared = floats(c.rank + 0.5);
      await c.broadcast(shared, 2);
      return [...got.data, ...shared.data];
    });
    expect(out).toEqual([
      [0, 0, 2.5],
      [-1, 2 ** 30 + 1, 2.5],
      [0, 0, 2.5],
    ]);
  });
});

describe('tensorGroup', () => {
  const [comm] = loopbackCommunicators(2);
  const groups = { coordinates: { pp: 0, dp: 0, tp: 0 }, tpSize: 2, ppSize: 1 };

  it('is none where the rank is alone', () => {
    expect(tensorGroup(groups, 'pp', ops)).toBeUndefined();
    const [single] = loopbackCommunicators(1);
    expect(tensorGroup({ ...groups, tp: single! }, 'tp', ops)).toBeUndefined();
  });

  it('prefers a transport of its own', () => {
    const device = stagedCollectives(comm!, ops);
    const own: ParallelGroups = { ...groups, tp: comm!, tensors: { tp: device } };
    expect(tensorGroup(own, 'tp', ops)).toBe(device);
    expect(tensorGroup({ ...groups, tp: comm! }, 'tp', ops)).toMatchObject({ rank: 0, size: 2 });
  });
});
