/**
 * Copies lists of intervals between flat tensors: the two ends of a parameter reallocation. Destination intervals must
 * not overlap. scatterIntervals with eta ≠ 1 is the exponential moving average dst = eta·src + (1 − eta)·dst.
 */
import { DeviceError, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './intervals.wgsl';

const copyKernel = defineKernel({
  name: 'intervals',
  source,
  entry: 'main',
  params: { count: 'u32', parts: 'u32', eta: 'f32' },
  access: ['read', 'read', 'read_write'],
  variants: [{ WG: 16 }],
});
const blendKernel = defineKernel({ ...copyKernel, name: 'intervals_blend', entry: 'blend' });

function run(
  r: Recorder,
  op: string,
  src: Tensor,
  intervals: Tensor,
  dst: Tensor,
  eta: number,
): void {
  if (src.dtype === 'f16' || dst.dtype === 'f16')
    throw new DeviceError(`${op} of an f16 tensor: only 32-bit types`);
  if (intervals.size % 3 !== 0)
    throw new DeviceError(`${op}: intervals [${intervals.shape.join(', ')}] is not [n, 3]`);
  const count = intervals.size / 3;
  if (count === 0) return;
  const wg = { WG: r.isCpu ? 16 : 128 };
  // Enough workgroups to fill the device when there are few intervals, no more than the longest could use.
  const wanted = Math.ceil((r.isCpu ? 64 : 4096) / count);
  const parts = Math.max(1, Math.min(wanted, Math.ceil(dst.size / wg.WG)));
  r.run(
    eta === 1 ? copyKernel : blendKernel,
    wg,
    [src, intervals, dst],
    { count, parts, eta },
    grid1d(count * parts),
  );
}

/** dst[dstOffset + i] = src[srcOffset + i] for every interval (u32 [n, 3] = srcOffset, dstOffset, length in elements). */
export function gatherIntervals(r: Recorder, src: Tensor, intervals: Tensor, dst: Tensor): void {
  run(r, 'gatherIntervals', src, intervals, dst, 1);
}

/** dst[dstOffset + i] = eta·src[srcOffset + i] + (1 − eta)·dst[dstOffset + i]; eta 1 is a plain copy. */
export function scatterIntervals(
  r: Recorder,
  src: Tensor,
  intervals: Tensor,
  dst: Tensor,
  eta = 1,
): void {
  run(r, 'scatterIntervals', src, intervals, dst, eta);
}
