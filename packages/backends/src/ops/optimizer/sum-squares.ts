/** Σ x² in a fixed order (a tree of chunks that depends on the length only), and the global-norm clip factor made from such sums. */
import { DeviceError, type Ops, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import clipSource from './clip-factor.wgsl';
import groupSource from './sum-squares-workgroup.wgsl';
import sumSource from './sum-squares.wgsl';

const constants = { WG: 16, CHUNK: 1024 };
const squares = defineKernel({
  name: 'sum_squares',
  source: sumSource,
  entry: 'squares',
  params: { count: 'u32', slot: 'u32' },
  access: ['read', 'read_write'],
  variants: [constants],
});
const sums = defineKernel({ ...squares, name: 'sum', entry: 'sums' });
const groupConstants = { WG: 256, CHUNK: 16384 };
const groupSquares = defineKernel({
  ...squares,
  name: 'sum_squares_workgroup',
  source: groupSource,
  variants: [groupConstants],
});
const groupSquares4 = defineKernel({
  ...groupSquares,
  name: 'sum_squares_workgroup4',
  entry: 'squares4',
});
const groupSums = defineKernel({ ...groupSquares, name: 'sum_workgroup', entry: 'sums' });
const clip = defineKernel({
  name: 'clip_factor',
  source: clipSource,
  entry: 'main',
  params: { count: 'u32', max_norm: 'f32' },
  access: ['read', 'read_write', 'read_write'],
  variants: [{}],
});

/** out[slot] = Σ x². `form`: who adds a chunk, one invocation (software adapters) or a workgroup (GPUs). */
export function sumSquares(
  r: Recorder,
  x: Tensor,
  out: Tensor,
  slot: number,
  form: 'invocation' | 'workgroup' = r.isCpu ? 'invocation' : 'workgroup',
): void {
  if (slot >= out.size)
    throw new DeviceError(`sumSquares into slot ${slot} of [${out.shape.join(', ')}]`);
  const byGroup = form === 'workgroup';
  const c = byGroup ? groupConstants : constants;
  const scratch: Tensor[] = [];
  let from = x;
  const byFour = x.size % 4 === 0 ? groupSquares4 : groupSquares;
  let kernel = byGroup ? byFour : squares;
  for (;;) {
    const parts = Math.max(1, Math.ceil(from.size / c.CHUNK));
    const last = parts === 1;
    const to = last ? out : r.alloc([parts]);
    if (!last) scratch.push(to);
    const params = { count: from.size, slot: last ? slot : 0 };
    r.run(kernel, c, [from, to], params, grid1d(byGroup ? parts : Math.ceil(parts / c.WG)));
    if (last) break;
    from = to;
    kernel = byGroup ? groupSums : sums;
  }
  for (const t of scratch) r.free(t);
}

/** norm[0] = √Σ squares[0…count), factor[0] = min(1, maxNorm / (norm + 1e-6)). */
export function clipFactor(r: Recorder, a: Parameters<Ops['clipFactor']>[0]): void {
  if (a.count > a.squares.size)
    throw new DeviceError(`clipFactor over ${a.count} of [${a.squares.shape.join(', ')}]`);
  r.run(
    clip,
    {},
    [a.squares, a.factor, a.norm],
    { count: a.count, max_norm: a.maxNorm },
    [1, 1, 1],
  );
}
