/** For tests and the check on a GPU: what every rank must see of each collective, against sums made on the CPU. */
import type { DType } from '@realhf/api';

import type { NcclTensorCommunicator } from '../communicator.js';
import { bytesOf, fill, plain, view, type PlainTensor } from './test-device.js';

/** Whole numbers, so that sums are exact in every order and type. */
const value = (i: number, rank: number) => ((i * 7 + rank * 13) % 31) - 9;

function host(dtype: DType, length: number, of: (i: number) => number) {
  if (dtype === 'f32') return Float32Array.from({ length }, (_, i) => of(i));
  if (dtype === 'f16') return Uint16Array.from({ length }, (_, i) => toHalf(of(i)));
  return Int32Array.from({ length }, (_, i) => of(i));
}

/** Halves of whole numbers below 2048. */
function toHalf(x: number): number {
  if (x === 0) return 0;
  const e = Math.floor(Math.log2(Math.abs(x)));
  return (x < 0 ? 0x8000 : 0) | ((e + 15) << 10) | ((Math.abs(x) / 2 ** e - 1) * 1024);
}

async function expectSame(
  device: GPUDevice,
  t: PlainTensor,
  of: (i: number) => number,
  what: string,
) {
  const got = new Uint8Array(await bytesOf(device, t));
  const want = host(t.dtype, t.size, of);
  const bytes = new Uint8Array(want.buffer);
  for (let i = 0; i < bytes.length; i++)
    if (got[i] !== bytes[i]) throw new Error(`${what}: byte ${i} is ${got[i]!}, not ${bytes[i]!}`);
}

/** All collectives on tensors of `n` elements a rank. */
export async function checkCollectives(
  device: GPUDevice,
  comm: NcclTensorCommunicator,
  dtype: DType,
  n: number,
): Promise<void> {
  const { rank, size } = comm;
  const total = (i: number) => {
    let s = 0;
    for (let r = 0; r < size; r++) s += value(i, r);
    return s;
  };
  const what = (name: string) => `${name} of ${n} × ${dtype} on rank ${rank} of ${size}`;
  // Views start on 256 bytes.
  const step = Math.ceil(n / 128) * 128;
  const t = plain(device, n, dtype);
  const all = plain(device, size * n, dtype);
  const set = (into: PlainTensor, from = rank) => {
    fill(
      device,
      into,
      host(dtype, into.size, (i) => value(i, from)),
    );
  };
  for (const root of new Set([0, size - 1])) {
    set(t);
    await comm.broadcast(t, root);
    await expectSame(device, t, (i) => value(i, root), what(`broadcast from ${root}`));
  }
  set(t);
  await comm.allReduce(t);
  await expectSame(device, t, total, what('allReduce'));
  set(t);
  set(all);
  await comm.allGather(t, all);
  await expectSame(device, all, (i) => value(i % n, Math.floor(i / n)), what('allGather'));
  set(all);
  await comm.reduceScatter(all, t);
  await expectSame(device, t, (i) => total(i + rank * n), what('reduceScatter'));
  await expectSame(device, all, (i) => value(i, rank), what('reduceScatter, its operand'));

  // In place, in pieces of whole 256 bytes.
  const pieces = plain(device, size * step, dtype);
  const mine = view(pieces, rank * step, step);
  set(mine);
  await comm.allGather(mine, pieces);
  const gathered = (i: number) => value(i % step, Math.floor(i / step));
  await expectSame(device, pieces, gathered, what('allGather in place'));
  set(pieces);
  await comm.reduceScatter(pieces, mine);
  await expectSame(device, mine, (i) => total(i + rank * step), what('reduceScatter in place'));

  if (size > 1) {
    const [next, last] = [(rank + 1) % size, (rank + size - 1) % size];
    const into = plain(device, n, dtype);
    set(t);
    await Promise.all([comm.send(next, t), comm.recv(last, into)]);
    await expectSame(device, into, (i) => value(i, last), what('exchange'));
    into.buffer.destroy();
  }
  for (const b of [t, all, pieces]) b.buffer.destroy();
}

const double = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u) {
  if (at.x < arrayLength(&x)) { x[at.x] = x[at.x] * 2.0; }
}`;

/** Kernels before and after collectives, with nothing between: the fences hold. */
export async function checkFences(device: GPUDevice, comm: NcclTensorCommunicator): Promise<void> {
  const module = device.createShaderModule({ code: double });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const n = 65_536;
  const t = plain(device, n);
  fill(device, t, new Float32Array(n).fill(1));
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: t.buffer } }],
  });
  let expected = 1;
  for (let k = 0; k < 5; k++) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(n / 64);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await comm.allReduce(t);
    expected *= 2 * comm.size;
  }
  await expectSame(device, t, () => expected, 'kernels around allReduce');
  t.buffer.destroy();
}

/** A group of the ranks in reverse, twice, and one of the even ranks. */
export async function checkGroups(device: GPUDevice, comm: NcclTensorCommunicator): Promise<void> {
  const ranks = Array.from({ length: comm.size }, (_, r) => r);
  const reversed = await comm.group([...ranks].reverse())!;
  if (reversed.rank !== comm.size - 1 - comm.rank)
    throw new Error(`rank ${reversed.rank} in reverse`);
  await checkCollectives(device, reversed, 'f32', 300);
  const even = comm.group(ranks.filter((r) => r % 2 === 0));
  if ((even === undefined) !== (comm.rank % 2 === 1)) throw new Error('member or not');
  if (even) await checkCollectives(device, await even, 'i32', 100);
  const again = await comm.group([...ranks].reverse())!;
  await checkCollectives(device, again, 'f32', 5);
  await reversed.close();
  await checkCollectives(device, comm, 'f32', 7);
}
