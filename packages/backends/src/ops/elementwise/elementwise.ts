/** fill, copy, add, scale on flat tensors. In place (`out` is an operand) has its own entry points: a buffer can't be bound twice when one is written. */
import { DeviceError, type Tensor } from '@realhf/api';

import { deviceTensor } from '../../webgpu/device-tensor.js';
import { defineKernel, grid1d, type Access } from '../../webgpu/kernel.js';
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
/** Quads of an invocation, for lengths and offsets that are multiples of four. */
const copy4Turns = 4;
const copy4Kernel = defineKernel({ ...copyKernel, name: 'copy4', entry: 'by4' });
const params = { count: 'u32', alpha: 'f32' } as const;
const forms = (entry: string, access: readonly Access[]) => {
  const single = defineKernel({
    name: entry,
    source: `alias T = f32;\n${addSource}`,
    entry,
    params,
    access,
    variants: [wg],
  });
  const source = `alias T = vec4f;\n${addSource}`;
  return { single, quads: defineKernel({ ...single, name: `${entry}4`, source }) };
};
const addForms = forms('add', ['read_write', 'read', 'read']);
const addToForms = forms('add_to', ['read_write', 'read']);
const scaleForms = forms('scale', ['read_write', 'read']);
const scaleInPlaceForms = forms('scale_in_place', ['read_write']);

/** Elements of the first tensor, four at a time where they can be. */
function run(r: Recorder, { single, quads }: typeof addForms, tensors: Tensor[], alpha: number) {
  const { size } = tensors[0]!;
  const count = size % 4 === 0 ? size / 4 : size;
  r.run(size % 4 === 0 ? quads : single, wg, tensors, { count, alpha }, grid(count));
}

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
  if (count === 0) return;
  const by4 = count % 4 === 0 && srcOffset % 4 === 0 && dstOffset % 4 === 0;
  const unit = by4 ? 4 : 1;
  r.run(
    by4 ? copy4Kernel : copyKernel,
    wg,
    [src, dst],
    { count: count / unit, src_offset: srcOffset / unit, dst_offset: dstOffset / unit },
    by4 ? grid(count / 4 / copy4Turns) : grid(count),
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
  if (same(a, out)) run(r, addToForms, [out, b], 1);
  else if (same(b, out)) run(r, addToForms, [out, a], 1);
  else run(r, addForms, [out, a, b], 1);
}

export function scale(r: Recorder, a: Tensor, factor: number, out: Tensor): void {
  if (a.size !== out.size)
    throw new DeviceError(`scale of [${a.shape.join(', ')}] into [${out.shape.join(', ')}]`);
  if (same(a, out)) run(r, scaleInPlaceForms, [out], factor);
  else run(r, scaleForms, [out, a], factor);
}
