/**
 * `npm run bench:realloc`: parameter reallocation between six pairs of layouts of a llama, all ranks in this process on
 * one device over loopback, against a plain copy of the same messages over the same communicator (host memory only).
 * `--hidden 512 --layers 8` sizes the model, `--wire f32|f16`, `--depth 3`, `--repeat 3`; `--plans` times plans of large
 * models instead and needs no device. `--device`: TinyLlama-1.1B between tp1, tp2 and pp2 on one card, messages from
 * device memory to device memory, against the card's copy rate, `--elements` a message.
 */
import { parseArgs } from 'node:util';

import {
  modelConfigSchema,
  singleDevice,
  type Communicator,
  type ModelConfig,
  type Parallelism,
  type Tensor,
} from '@realhf/api';
import { WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import {
  loopbackCommunicators,
  planRealloc,
  ReallocSession,
  worldSize,
  type ReallocPlan,
} from '@realhf/comm';
import { replicaMaps } from '@realhf/model';

import { medianMs } from '../bench/median.js';
import { timeOnDevice } from './on-device.js';

function llama(
  hiddenDim: number,
  nLayers: number,
  nHeads: number,
  nKvHeads: number,
  intermediateDim: number,
): ModelConfig {
  return modelConfigSchema.parse({
    family: 'llama',
    nLayers,
    nHeads,
    nKvHeads,
    headDim: hiddenDim / nHeads,
    hiddenDim,
    intermediateDim,
    vocabSize: 32000,
    maxPositions: 2048,
    norm: 'rms',
    normEps: 1e-5,
    mlp: 'gated',
    activation: 'silu',
    rope: {},
    attentionScale: 1,
  });
}

function layout(dp: number, tp: number, pp: number): Parallelism {
  return {
    ...singleDevice,
    dataParallelSize: dp,
    tensorParallelSize: tp,
    pipelineParallelSize: pp,
  };
}
const nameOf = (p: Parallelism) =>
  `dp${p.dataParallelSize} tp${p.tensorParallelSize} pp${p.pipelineParallelSize}`;

/** Source, target, first rank of the target. */
const pairs: readonly (readonly [Parallelism, Parallelism, number])[] = [
  [layout(1, 4, 1), layout(4, 1, 1), 0],
  [layout(4, 1, 1), layout(1, 4, 1), 4],
  [layout(1, 2, 2), layout(2, 2, 1), 0],
  [layout(1, 1, 4), layout(1, 4, 1), 0],
  [layout(2, 1, 2), layout(1, 2, 2), 2],
  [layout(1, 1, 1), layout(4, 1, 1), 1],
];

export async function main(_root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      hidden: { type: 'string', default: '512' },
      layers: { type: 'string', default: '8' },
      wire: { type: 'string', default: 'f32' },
      depth: { type: 'string', default: '3' },
      repeat: { type: 'string', default: '3' },
      plans: { type: 'boolean', default: false },
      elements: { type: 'string', default: `${1 << 24}` },
      device: { type: 'boolean', default: false },
    },
  });
  if (values.plans) return timePlans();
  if (values.device) {
    const [width, layers] = [Number(values.hidden), Number(values.layers)];
    return timeOnDevice(
      llama(width, layers, width / 64, width / 512, 5632),
      Number(values.repeat),
      Number(values.elements),
    );
  }
  const wire = values.wire === 'f16' ? 'f16' : 'f32';
  const hidden = Number(values.hidden);
  const config = llama(
    hidden,
    Number(values.layers),
    hidden / 64,
    hidden / 128,
    Math.ceil((hidden * 8) / 3 / 64) * 64,
  );
  const gpu = await openGpu();
  const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
  console.log(`${gpu.adapterName}, ${wire} on the wire, depth ${values.depth}`);
  console.log('from → to | MB sent | MB kept | plan ms | ms | GB/s | plain copy GB/s | of it');
  for (const [from, to, shift] of pairs) {
    const maps = [
      replicaMaps(config, from, ops.maxTensorBytes),
      replicaMaps(config, to, ops.maxTensorBytes),
    ] as const;
    const start = performance.now();
    const targetRanks = maps[1].map((_, i) => shift + i);
    const plan = planRealloc(...maps, { targetRanks });
    const planMs = performance.now() - start;
    const [source, target] = maps.map((side) =>
      side.map((m) => m.segmentSizes.map((n) => ops.zeros([n]))),
    ) as [Tensor[][], Tensor[][]];
    const comms = loopbackCommunicators(Math.max(worldSize(from), shift + worldSize(to)));
    const sessions = comms.map(
      (comm, rank) =>
        new ReallocSession({ plan, rank, ops, comm, wire, depth: Number(values.depth) }),
    );
    const ms = await medianMs(Number(values.repeat), async () => {
      await Promise.all(
        sessions.map((s, r) =>
          s.run({
            ...(source[r] && { source: source[r] }),
            ...(target[r - shift] && { target: target[r - shift]! }),
          }),
        ),
      );
      await ops.sync();
    });
    const plain = await medianMs(Number(values.repeat), () =>
      Promise.all(comms.map((comm) => plainCopy(plan, comm, wire === 'f16' ? 0.5 : 1))),
    );
    const bytes = plan.moved * (wire === 'f16' ? 2 : 4);
    console.log(
      [
        `${nameOf(from)} → ${nameOf(to)}${shift > 0 ? ` on ranks ${shift}…` : ''}`,
        (bytes / 1e6).toFixed(1),
        ((plan.copied * 4) / 1e6).toFixed(1),
        planMs.toFixed(1),
        ms.toFixed(1),
        (bytes / ms / 1e6).toFixed(2),
        (bytes / plain / 1e6).toFixed(2),
        `${((100 * plain) / ms).toFixed(0)} %`,
      ].join(' | '),
    );
    for (const s of sessions) s.free();
    ops.free(...source.flat(), ...target.flat());
  }
  ops.destroy();
  return 0;
}

/** The same messages along the same chains, from and to host memory. */
async function plainCopy(plan: ReallocPlan, comm: Communicator, words: number): Promise<void> {
  const { rank } = comm;
  for (const { from, to, length } of plan.transfers) {
    const at = to.indexOf(rank);
    if (from !== rank && at < 0) continue;
    const data = new Float32Array(Math.ceil(length * words));
    if (at >= 0) await comm.recv(to[at - 1] ?? from, data);
    const next = to[at + 1];
    if (next !== undefined) await comm.send(next, data);
  }
}

/** Milliseconds; the first run is not counted. */
function timePlans(): number {
  const shapes = {
    '1.1B': llama(2048, 22, 32, 4, 5632),
    '7B': llama(4096, 32, 32, 32, 11008),
  } as const;
  const cases = [
    ['1.1B', layout(1, 8, 1), layout(8, 1, 1)],
    ['1.1B', layout(2, 2, 2), layout(1, 4, 2)],
    ['7B', layout(4, 8, 1), layout(4, 2, 4)],
    ['7B', layout(1, 8, 4), layout(32, 1, 1)],
  ] as const;
  console.log(
    'model, from → to | maps ms | plan ms | messages | blocks | most sent GB | between nodes GB',
  );
  for (const [shape, from, to] of cases) {
    const t0 = performance.now();
    const maps = [
      replicaMaps(shapes[shape], from, 2 ** 31),
      replicaMaps(shapes[shape], to, 2 ** 31),
    ] as const;
    const t1 = performance.now();
    const plan = planRealloc(...maps, { nodeOf: (r) => Math.floor(r / 8) });
    const t2 = performance.now();
    const blocks = plan.transfers.reduce(
      (n, t) => n + t.gather.reduce((k, c) => k + c.blocks.length / 6, 0),
      0,
    );
    console.log(
      [
        `${shape}, ${nameOf(from)} → ${nameOf(to)}`,
        (t1 - t0).toFixed(0),
        (t2 - t1).toFixed(0),
        plan.transfers.length,
        blocks,
        ((4 * Math.max(...plan.sent)) / 1e9).toFixed(2),
        ((4 * plan.crossNode) / 1e9).toFixed(2),
      ].join(' | '),
    );
  }
  return 0;
}
