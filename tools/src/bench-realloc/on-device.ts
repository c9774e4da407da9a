/**
 * Reallocation between layouts whose ranks all lie on one card: gather, a message from device memory to device memory,
 * scatter. 24 bytes move for an element that is sent, 8 for one that its rank keeps; beside it the card's copy rate.
 */
import { singleDevice, type ModelConfig, type Tensor, type TensorCommunicator } from '@realhf/api';
import { WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { planRealloc, ReallocSession } from '@realhf/comm';
import { replicaMaps } from '@realhf/model';

import { medianMs } from '../bench/median.js';

const layouts = {
  tp1: singleDevice,
  tp2: { ...singleDevice, tensorParallelSize: 2 },
  pp2: { ...singleDevice, pipelineParallelSize: 2 },
} as const;
const pairs = [
  ['tp1', 'tp2'],
  ['tp2', 'tp1'],
  ['tp1', 'pp2'],
  ['pp2', 'tp1'],
  ['tp2', 'pp2'],
  ['pp2', 'tp2'],
] as const;

interface Waiting {
  readonly tensor: Tensor;
  readonly done: () => void;
}

/** Messages between ranks of one process and one device: the receiver copies. */
function deviceLoopback(ops: WebGpuOps, size: number): TensorCommunicator[] {
  const lanes = new Map<string, { sent: Waiting[]; wanted: ((w: Waiting) => void)[] }>();
  const lane = (from: number, to: number) => {
    const key = `${from}>${to}`;
    let known = lanes.get(key);
    if (!known) lanes.set(key, (known = { sent: [], wanted: [] }));
    return known;
  };
  const none = () => Promise.reject(new Error('a reallocation only sends and receives'));
  return Array.from({ length: size }, (_, rank) => ({
    rank,
    size,
    send: (to: number, tensor: Tensor) =>
      new Promise<void>((done) => {
        const { sent, wanted } = lane(rank, to);
        const receiver = wanted.shift();
        if (receiver) receiver({ tensor, done });
        else sent.push({ tensor, done });
      }),
    recv: async (from: number, into: Tensor) => {
      const { sent, wanted } = lane(from, rank);
      const { tensor, done } =
        sent.shift() ?? (await new Promise<Waiting>((resolve) => wanted.push(resolve)));
      ops.copy(tensor, into);
      done();
    },
    broadcast: none,
    allReduce: none,
    allGather: none,
    reduceScatter: none,
  }));
}

/** Prints a row for each pair of layouts, both on ranks of their own and on the same ranks. */
export async function timeOnDevice(
  config: ModelConfig,
  repeat: number,
  maxElements: number,
): Promise<number> {
  const gpu = await openGpu();
  const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
  const copyRate = await timeCopy(ops, gpu.isCpu ? 1 << 20 : 1 << 28);
  console.log(`${gpu.adapterName}, ${gpu.driver}; copy ${copyRate.toFixed(0)} GB/s`);
  console.log('from → to | ranks | MB sent | MB kept | ms | GB/s | of the copy rate');
  for (const [from, to] of pairs)
    for (const apart of [true, false]) {
      const maps = [layouts[from], layouts[to]].map((l) =>
        replicaMaps(config, l, ops.maxTensorBytes),
      );
      const [source, target] = maps as [(typeof maps)[0], (typeof maps)[0]];
      const shift = apart ? source.length : 0;
      const plan = planRealloc(source, target, {
        targetRanks: target.map((_, i) => shift + i),
        maxElements,
      });
      const world = plan.sourceSegments.length;
      const tensors = deviceLoopback(ops, world);
      const sessions = tensors.map(
        (t, rank) => new ReallocSession({ plan, rank, ops, tensors: t }),
      );
      const [a, b] = [source, target].map((side) =>
        side.map((m) => m.segmentSizes.map((n) => ops.zeros([n]))),
      ) as [Tensor[][], Tensor[][]];
      const run = async () => {
        await Promise.all(
          sessions.map((s, r) =>
            s.run({
              ...(a[r] && { source: a[r] }),
              ...(b[r - shift] && { target: b[r - shift]! }),
            }),
          ),
        );
        await ops.sync();
      };
      const until = performance.now() + (gpu.isCpu ? 0 : 1000);
      do await run();
      while (performance.now() < until);
      const ms = await medianMs(repeat, run);
      const rate = (24 * plan.moved + 8 * plan.copied) / ms / 1e6;
      const cells = [
        `${from} → ${to}`,
        apart ? 'others' : 'the same',
        ((4 * plan.moved) / 1e6).toFixed(0),
        ((4 * plan.copied) / 1e6).toFixed(0),
        ms.toFixed(2),
        rate.toFixed(0),
        (rate / copyRate).toFixed(2),
      ];
      console.log(cells.join(' | '));
      for (const s of sessions) s.free();
      ops.free(...a.flat(), ...b.flat());
    }
  ops.destroy();
  return 0;
}

/** GB/s, read and written. */
async function timeCopy(ops: WebGpuOps, n: number): Promise<number> {
  const [x, y] = [ops.zeros([n]), ops.zeros([n])];
  const once = async (times: number) => {
    await ops.sync();
    const start = performance.now();
    for (let i = 0; i < times; i++) ops.copy(x, y);
    await ops.sync();
    return (performance.now() - start) / times;
  };
  const until = performance.now() + (n > 1 << 20 ? 1500 : 0);
  do await once(20);
  while (performance.now() < until);
  const ms = await once(20);
  ops.free(x, y);
  return (8 * n) / ms / 1e6;
}
