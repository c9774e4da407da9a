/** Embedding lookup and its gradient, for whole tables and vocabulary shards (`rowOffset`). */
import { DeviceError, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './embedding.wgsl';
import { rowsById } from './rows-by-id.js';

const wg = { WG: 64 };
const params = {
  count: 'u32',
  dim: 'u32',
  rows: 'u32',
  row_offset: 'i32',
  factor: 'f32',
  accumulate: 'u32',
  id_stride: 'u32',
  id_offset: 'u32',
} as const;
const access = ['read_write', 'read', 'read'] as const;
const lookupKernel = defineKernel({
  name: 'embedding',
  source,
  entry: 'lookup',
  params,
  access,
  variants: [wg],
});
const backwardKernel = defineKernel({
  name: 'embedding_backward',
  source,
  entry: 'backward',
  params,
  access,
  variants: [wg],
});

/** out [n, dim] = factor·table[ids[i] − rowOffset], zero where that row is not in the table; id i is entry idStride·i + idOffset of ids (i32 or u32; default 1 and 0). */
export function embedding(
  r: Recorder,
  table: Tensor,
  ids: Tensor,
  out: Tensor,
  options: {
    rowOffset?: number;
    factor?: number;
    accumulate?: boolean;
    idStride?: number;
    idOffset?: number;
  } = {},
): void {
  const { idStride = 1, idOffset = 0 } = options;
  const count = Math.ceil((ids.size - idOffset) / idStride);
  const dim = tableDim('embedding', table, count, out);
  if (out.size === 0) return;
  r.run(
    lookupKernel,
    wg,
    [out, table, ids],
    {
      count,
      dim,
      rows: table.size / dim,
      row_offset: options.rowOffset ?? 0,
      factor: options.factor ?? 1,
      accumulate: options.accumulate ? 1 : 0,
      id_stride: idStride,
      id_offset: idOffset,
    },
    grid1d(Math.ceil(out.size / wg.WG)),
  );
}

/** dTable[row] += factor·Σ dOut [n, dim] over the positions of that row in `ids` (host, i32 [n]), in position order. */
export function embeddingBackward(
  r: Recorder,
  dOut: Tensor,
  ids: Int32Array,
  dTable: Tensor,
  options: { rowOffset?: number; factor?: number } = {},
): void {
  const dim = tableDim('embeddingBackward', dTable, ids.length, dOut);
  const rows = dTable.size / dim;
  const { csr, unique } = rowsById(ids, options.rowOffset ?? 0, rows);
  if (unique === 0) return;
  const order = r.alloc([csr.length], 'i32');
  r.write(order, csr);
  r.run(
    backwardKernel,
    wg,
    [dTable, dOut, order],
    {
      count: unique,
      dim,
      rows,
      row_offset: 0,
      factor: options.factor ?? 1,
      accumulate: 1,
      id_stride: 1,
      id_offset: 0,
    },
    grid1d(Math.ceil((unique * dim) / wg.WG)),
  );
  r.free(order);
}

function tableDim(what: string, table: Tensor, n: number, out: Tensor): number {
  const dim = table.shape.at(-1) ?? 0;
  if (table.shape.length !== 2 || out.size !== n * dim)
    throw new DeviceError(
      `${what} with table [${table.shape.join(', ')}], ${n} ids and rows [${out.shape.join(', ')}]: need [vocab, dim] and [n, dim]`,
    );
  return dim;
}
