/**
 * What one GPU shows in a few minutes, without Node's tools or a compiler on the host: every collective of one rank on
 * shared buffers against the CPU, the fences' cost, rates beside CUDA's own copy and staging, and that memory stays
 * flat. MAX_BYTES lowers the largest size.
 */
import { readdirSync, readFileSync } from 'node:fs';

import { memoryNameResolve } from '@realhf/comm';

import {
  ncclTensorCommunicator,
  ncclVersionText,
  Nccl,
  openBridge,
  versionText,
  VulkanLayer,
  type Bridge,
  type NcclTensorCommunicator,
} from '../src/index.js';
import { matchDouble, openDevice, plain, rangeOf } from '../src/testing/test-device.js';
import type { PlainTensor } from '../src/testing/test-device.js';
import { Patterns } from './patterns.js';

const MiB = 2 ** 20;
const largest = Number(process.env.MAX_BYTES ?? 4096 * MiB);
const hasTime = performance.now() + 200_000;
let failures = 0;

function row(name: string, value: string): void {
  console.log(`${name.padEnd(34)}${value}`);
}
function check(name: string, bad: number): void {
  if (bad > 0) failures++;
  if (bad > 0) row(name, `${bad} words WRONG`);
}
const size = (bytes: number) =>
  bytes >= MiB && bytes % MiB === 0 ? `${bytes / MiB} MiB` : `${bytes} B`;

/** A tensor of u32, or undefined where the device has no room for it. */
async function room(device: GPUDevice, bytes: number): Promise<PlainTensor | undefined> {
  if (bytes > device.limits.maxBufferSize) return undefined;
  device.pushErrorScope('out-of-memory');
  device.pushErrorScope('validation');
  const t = plain(device, bytes / 4, 'u32');
  const wrong = (await device.popErrorScope()) ?? (await device.popErrorScope());
  if (wrong) row(`buffer of ${size(bytes)}`, wrong.message.split('\n')[0] ?? '');
  return wrong ? undefined : t;
}

async function collectives(
  device: GPUDevice,
  patterns: Patterns,
  comm: NcclTensorCommunicator,
  bytes: number,
): Promise<void> {
  const [a, b] = [await room(device, bytes), await room(device, bytes)];
  if (!a || !b) return;
  const start = performance.now();
  const both = async (name: string, run: () => Promise<unknown>, seed: number) => {
    patterns.write(a.buffer, seed);
    patterns.write(b.buffer, 99);
    await run();
    check(`${name} of ${size(bytes)}`, await patterns.mismatches(b.buffer, seed));
  };
  const one = async (name: string, run: () => Promise<void>, seed: number) => {
    patterns.write(a.buffer, seed);
    await run();
    check(`${name} of ${size(bytes)}`, await patterns.mismatches(a.buffer, seed));
  };
  await both('allGather', () => comm.allGather(a, b), 1);
  await both('reduceScatter', () => comm.reduceScatter(a, b), 2);
  await both('send and recv', () => Promise.all([comm.send(0, a), comm.recv(0, b)]), 3);
  await one('broadcast', () => comm.broadcast(a, 0), 4);
  await one('allReduce', () => comm.allReduce(a), 5);
  row(
    `5 collectives of ${size(bytes)}`,
    `checked in ${((performance.now() - start) / 1000).toFixed(1)} s`,
  );
  a.buffer.destroy();
  b.buffer.destroy();
  await device.queue.onSubmittedWorkDone();
}

async function median(times: number, run: () => Promise<void>): Promise<number> {
  const ms: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    await run();
    ms.push(performance.now() - start);
  }
  return ms.sort((x, y) => x - y)[times >> 1]!;
}

async function rates(
  device: GPUDevice,
  bridge: Bridge,
  comm: NcclTensorCommunicator,
  staged: NcclTensorCommunicator,
  nccl: Nccl,
  bytes: number,
): Promise<void> {
  const [a, b] = [await room(device, bytes), await room(device, bytes)];
  if (!a || !b) return;
  const { cuda } = bridge;
  const lane = bridge.lane();
  const uses = [a, b].map((t) => ({ ...rangeOf(t), reads: true, writes: true }));
  const [from, to] = await lane.memory.open(uses);
  const rate = (ms: number) => `${(bytes / ms / 1e6).toFixed(1)} GB/s`;
  const copies = 20;
  const copy = () => {
    for (let i = 0; i < copies; i++) cuda.copy(to!, from!, bytes, lane.stream);
    cuda.synchronize(lane.stream);
    return Promise.resolve();
  };
  await copy();
  row(`cuMemcpyDtoD of ${size(bytes)}`, rate((await median(5, copy)) / copies));
  const raw = nccl.join(1, nccl.uniqueId(), 0);
  while (!nccl.isReady(raw)) await new Promise((resolve) => setImmediate(resolve));
  const launches = async () => {
    for (let i = 0; i < copies; i++)
      nccl.launch(raw, lane.stream, [
        { kind: 'allGather', from: from!, to: to!, type: 3, count: bytes / 4 },
      ]);
    while (!nccl.isReady(raw)) await new Promise((resolve) => setImmediate(resolve));
    cuda.synchronize(lane.stream);
  };
  await launches();
  row(`NCCL alone, ${size(bytes)}`, rate((await median(5, launches)) / copies));
  nccl.end(raw, false);
  row(`allGather with fences, ${size(bytes)}`, rate(await median(9, () => comm.allGather(a, b))));
  row(`allGather staged, ${size(bytes)}`, rate(await median(3, () => staged.allGather(a, b))));
  lane.close();
  a.buffer.destroy();
  b.buffer.destroy();
}

/** Makes, shares and frees buffers; memory of the GPU, mappings and open files must not grow. */
async function churn(device: GPUDevice, bridge: Bridge, layer: VulkanLayer): Promise<void> {
  const lane = bridge.lane();
  const state = () => {
    const { buffers, memories } = layer.live();
    const rss =
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
    const fds = readdirSync('/proc/self/fd').length;
    const free = (bridge.cuda.freeBytes() / MiB).toFixed(0);
    return `${free} MiB free, ${buffers} buffers in ${memories} allocations, ${fds} files, RSS ${rss.toFixed(0)} MiB`;
  };
  const start = performance.now();
  for (let i = 0; i < 1000; i++) {
    const t = plain(device, (i % 2 ? 16 : 1) * 2 ** 18 + i, 'u32');
    await lane.memory.open([{ ...rangeOf(t), reads: true, writes: true }]);
    t.buffer.destroy();
    if (i % 333 === 99) row(`after ${i + 1} buffers`, state());
  }
  await device.queue.onSubmittedWorkDone();
  row(
    'after 1000 buffers',
    `${state()}; ${((performance.now() - start) / 1000).toFixed(2)} ms each`,
  );
  lane.close();
}

async function main(): Promise<void> {
  const device = await openDevice(process.env.GPU ? { device: process.env.GPU } : {});
  matchDouble();
  const layer = new VulkanLayer();
  for (const d of layer.devices())
    row(
      `Vulkan device ${d.index}`,
      `${d.name}, ${d.uuid}, ${d.pci ?? 'no PCI address'}, ${d.driver}`,
    );
  const nccl = new Nccl();
  const bridge = await openBridge({ device, memory: 'shared' });
  const { gpu, cuda } = bridge;
  row('CUDA', `${versionText(cuda.version)}, ${gpu.name}, ${gpu.uuid}, ${gpu.pci}`);
  row('NCCL', `${ncclVersionText(nccl.version)}, ${nccl.path}`);
  const names = memoryNameResolve();
  const common = { device, rank: 0, size: 1, names, rangeOf, timeoutMs: 60_000 };
  const comm = await ncclTensorCommunicator({ ...common, key: 'bench/shared', memory: 'shared' });
  const staged = await ncclTensorCommunicator({
    ...common,
    key: 'bench/staged',
    memory: 'staged',
    gpu: gpu.uuid,
    warn: (line) => {
      row('staging', line);
    },
  });
  const patterns = new Patterns(device);
  // A card that idles measures too slow.
  const warm = plain(device, 16 * MiB, 'u32');
  const until = performance.now() + (largest > 64 * MiB ? 1500 : 10);
  while (performance.now() < until) {
    patterns.write(warm.buffer, 0);
    await device.queue.onSubmittedWorkDone();
  }
  warm.buffer.destroy();

  const word = plain(device, 64, 'u32');
  const lane = bridge.lane();
  const use = [{ ...rangeOf(word), reads: true, writes: true }];
  const fences = await median(300, async () => {
    const addresses = await lane.memory.open(use);
    cuda.synchronize(lane.stream);
    await lane.memory.settle(use, addresses, false);
  });
  lane.close();
  row('fences, both ways', `${(fences * 1000).toFixed(0)} µs`);
  row(
    'allReduce of 256 B',
    `${((await median(100, () => comm.allReduce(word))) * 1000).toFixed(0)} µs`,
  );
  word.buffer.destroy();

  for (const bytes of [64 * MiB, 1024 * MiB].filter((n) => n <= largest))
    await rates(device, bridge, comm, staged, nccl, bytes);
  await churn(device, bridge, layer);
  for (const bytes of [4, 4096, MiB + 4, 64 * MiB, 1024 * MiB, 4096 * MiB].filter(
    (n) => n <= largest,
  ))
    if (performance.now() < hasTime) await collectives(device, patterns, comm, bytes);
    else row(`collectives of ${size(bytes)}`, 'no time left');
  await staged.close();
  await comm.close();
  row('result', failures === 0 ? 'all right' : `${failures} WRONG`);
}

main().then(
  () => process.exit(failures === 0 ? 0 : 1),
  (e: unknown) => {
    console.log(e);
    process.exit(1);
  },
);
