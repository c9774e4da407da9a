/** fill, copy, add, scale on flat tensors. In place (`out` is an operand) has its own entry points: a buffer can't be bound twice when one is written. */
import { DeviceError, type Tensor } from '@realhf/api';

import { deviceTensor } from '../../webgpu/device-tensor.js';
import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import addSource from './add.wgsl';
import copySource from './copy.wgsl';
import fillSource from './fill.wgsl';

const wg = { WG: 256 };
const grid = (n: number) => grid1d(Math.ceil(n / wg.WG));

const fillKernel = defineKernel({
  name: 'fill',
  source: fillSource,
  entry: 'main',
  params: { count: 'u32', value: 'u32' },
  access: ['read_write'],
  variants: [wg],
});
const fill4Kernel = defineKernel({ ...fillKernel, name: 'fill4', entry: 'by4' });
const copyKernel = defineKernel({
  name: 'copy',
  source: copySource,
  entry: 'main',
  params: { count: 'u32', src_offset: 'u32', dst_offset: 'u32' },
  access: ['read', 'read_write'],
  variants: [wg],
});
const params = { count: 'u32', alpha: 'f32' } as const;
const addKernel = defineKernel({
  name: 'add',
  source: addSource,
  entry: 'add',
  params,
  access: ['read_write', 'read', 'read'],
  variants: [wg],
});
const addToKernel = defineKernel({
  name: 'add_to',
  source: addSource,
  entry: 'add_to',
  params,
  access: ['read_write', 'read'],
  variants: [wg],
});
const scaleKernel = defineKernel({
  name: 'scale',
  source: addSource,
  entry: 'scale',
  params,
  access: ['read_write', 'read'],
  variants: [wg],
});
const scaleInPlaceKernel = defineKernel({
  name: 'scale_in_place',
  source: addSource,
  entry: 'scale_in_place',
  params,
  access: ['read_write'],
  variants: [wg],
});

const bits = new DataView(new ArrayBuffer(4));

/** Sets every element (of a 32-bit type) to `value`. */
export function fill(r: Recorder, t: Tensor, value: number): void {
  if (t.dtype === 'f32') bits.setFloat32(0, value);
  else bits.setInt32(0, value);
  const word = bits.getUint32(0);
  const by4 = t.size % 4 === 0;
  const count = by4 ? t.size / 4 : t.size;
  r.run(by4 ? fill4Kernel : fillKernel, wg, [t], { count, value: word }, grid(count));
}

export function copy(
  r: Recorder,
  src: Tensor,
  dst: Tensor,
  count = src.size,
  srcOffset = 0,
  dstOffset = 0,
): void {
  if (srcOffset + count > src.size || dstOffset + count > dst.size) {
    throw new DeviceError(
      `copy of ${count} elements from ${srcOffset} to ${dstOffset} exceeds [${src.shape.join(', ')}] or [${dst.shape.join(', ')}]`,
    );
  }
  if (count > 0)
    r.run(
      copyKernel,
      wg,
      [src, dst],
      { count, src_offset: srcOffset, dst_offset: dstOffset },
      grid(count),
    );
}

const same = (a: Tensor, b: Tensor) =>
  a === b ||
  (deviceTensor(a).buffer === deviceTensor(b).buffer &&
    deviceTensor(a).byteOffset === deviceTensor(b).byteOffset);

export function add(r: Recorder, a: Tensor, b: Tensor, out: Tensor): void {
  if (a.size !== b.size || a.size !== out.size)
    throw new DeviceError(
      `add of [${a.shape.join(', ')}] and [${b.shape.join(', ')}] into [${out.shape.join(', ')}]`,
    );
  const p = { count: out.size, alpha: 1 };
  if (same(a, out)) r.run(addToKernel, wg, [out, b], p, grid(out.size));
  else if (same(b, out)) r.run(addToKernel, wg, [out, a], p, grid(out.size));
  else r.run(addKernel, wg, [out, a, b], p, grid(out.size));
}

export function scale(r: Recorder, a: Tensor, factor: number, out: Tensor): void {
  if (a.size !== out.size)
    throw new DeviceError(`scale of [${a.shape.join(', ')}] into [${out.shape.join(', ')}]`);
  const p = { count: out.size, alpha: factor };
  if (same(a, out)) r.run(scaleInPlaceKernel, wg, [out], p, grid(out.size));
  else r.run(scaleKernel, wg, [out, a], p, grid(out.size));
}
