/**
 * gatherRows and scatterRows on 32-bit tensors. An index (bias added, wrapping) beyond the table is skipped: a gathered
 * row then keeps what it held, a scattered row goes nowhere. Scatter indices must be unique: nothing is atomic.
 */
import { DeviceError, type Ops, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './rows.wgsl';

const workgroup = (r: Recorder) => ({ WG: r.isCpu ? 8 : 64 });
const gather = defineKernel({
  name: 'gather_rows',
  source,
  entry: 'gather',
  params: { rows: 'u32', columns: 'u32', limit: 'u32', ...strides() },
  access: ['read', 'read', 'read_write'],
  variants: [{ WG: 8 }],
});
const scatter = defineKernel({ ...gather, name: 'scatter_rows', entry: 'scatter' });
const accumulate = defineKernel({ ...gather, name: 'accumulate_rows', entry: 'accumulate' });

function strides() {
  return {
    src_offset: 'u32',
    src_stride: 'u32',
    index_stride: 'u32',
    index_offset: 'u32',
    index_bias: 'i32',
  } as const;
}

function expectWords(op: string, ...tensors: Tensor[]): void {
  for (const t of tensors)
    if (t.dtype === 'f16') throw new DeviceError(`${op} of an f16 tensor: only 32-bit types`);
}

/** out [n, dim] = x[index[i]]; dim is the last extent of out. */
export function gatherRows(r: Recorder, x: Tensor, index: Tensor, out: Tensor): void {
  expectWords('gatherRows', x, index, out);
  const rows = index.size;
  const columns = rows === 0 ? 0 : out.size / rows;
  if (!Number.isInteger(columns) || (columns > 0 && x.size % columns !== 0))
    throw new DeviceError(
      `gatherRows of ${rows} rows from [${x.shape.join(', ')}] into [${out.shape.join(', ')}]`,
    );
  if (columns === 0) return;
  const params = {
    rows,
    columns,
    limit: x.size / columns,
    src_offset: 0,
    src_stride: columns,
    index_stride: 1,
    index_offset: 0,
    index_bias: 0,
  };
  r.run(gather, workgroup(r), [x, index, out], params, grid1d(rows));
}

/** dst[index[i·indexStride + indexOffset] + indexBias] = src[i], or += with accumulate; dst is [any, columns]. */
export function scatterRows(r: Recorder, a: Parameters<Ops['scatterRows']>[0]): void {
  expectWords('scatterRows', a.src.tensor, a.index, a.dst);
  const params = {
    rows: a.rows,
    columns: a.columns,
    limit: Math.floor(a.dst.size / Math.max(1, a.columns)),
    src_offset: a.src.offset,
    src_stride: a.src.stride,
    index_stride: a.indexStride ?? 1,
    index_offset: a.indexOffset ?? 0,
    index_bias: a.indexBias ?? 0,
  };
  const last = a.rows - 1;
  if (a.rows === 0 || a.columns === 0) return;
  if (
    last * params.index_stride + params.index_offset >= a.index.size ||
    a.src.offset + last * a.src.stride + a.columns > a.src.tensor.size
  )
    throw new DeviceError(
      `scatterRows of ${a.rows}×${a.columns} from [${a.src.tensor.shape.join(', ')}] (offset ${a.src.offset}, stride ${a.src.stride}) by index [${a.index.shape.join(', ')}] exceeds one of them`,
    );
  r.run(
    a.accumulate === true ? accumulate : scatter,
    workgroup(r),
    [a.src.tensor, a.index, a.dst],
    params,
    grid1d(a.rows),
  );
}
