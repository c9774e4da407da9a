/** Bias gradient: column sums by blocks of 32 rows, then over blocks; the order depends only on the number of rows. */
import { DeviceError, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './columns.wgsl';

/** Rows summed by one invocation of a first stage. */
export const rowsPerBlock = 32;

/** One invocation adds so many blocks; of more, blocks of blocks are added first. */
const mostBlocks = 64;

const constants = { WG: 64, BLOCK: rowsPerBlock };
const sumKernel = defineKernel({
  name: 'column_partial_sums',
  source,
  entry: 'partial_sums',
  params: { rows: 'u32', columns: 'u32', blocks: 'u32', offset: 'u32' },
  access: ['read_write', 'read'],
  variants: [constants],
});
const reduceKernel = defineKernel({
  name: 'column_reduce',
  source,
  entry: 'reduce',
  params: { rows: 'u32', columns: 'u32', blocks: 'u32', offset: 'u32' },
  access: ['read_write', 'read'],
  variants: [constants],
});

/** dst [columns] += Σ over blocks of partial [blocks, columns], which starts `offset` elements into the tensor. */
export function reduceColumns(
  r: Recorder,
  partial: Tensor,
  offset: number,
  blocks: number,
  dst: Tensor,
): void {
  const columns = dst.size;
  if (blocks > mostBlocks) {
    const fewer = partialSums(r, partial, offset, blocks, columns);
    reduceColumns(r, fewer, 0, fewer.shape[0]!, dst);
    r.free(fewer);
    return;
  }
  const grid = grid1d(Math.ceil(columns / constants.WG));
  r.run(reduceKernel, constants, [dst, partial], { rows: 0, columns, blocks, offset }, grid);
}

/** [blocks, columns]: sums over blocks of rows of x [rows, columns], which starts `offset` elements into the tensor. */
function partialSums(
  r: Recorder,
  x: Tensor,
  offset: number,
  rows: number,
  columns: number,
): Tensor {
  const blocks = Math.ceil(rows / rowsPerBlock);
  const partial = r.alloc([blocks, columns]);
  r.run(
    sumKernel,
    constants,
    [partial, x],
    { rows, columns, blocks, offset },
    grid1d(Math.ceil((blocks * columns) / constants.WG)),
  );
  return partial;
}

/** dBias [n] += column sums of dOut [m, n]. */
export function biasBackward(r: Recorder, dOut: Tensor, dBias: Tensor): void {
  const columns = dBias.size;
  const rows = dOut.size / columns;
  if (dOut.shape.at(-1) !== columns)
    throw new DeviceError(
      `biasBackward of [${dOut.shape.join(', ')}] into [${dBias.shape.join(', ')}]: the last dimension must be the bias`,
    );
  if (rows === 0) return;
  const partial = partialSums(r, dOut, 0, rows, columns);
  reduceColumns(r, partial, 0, partial.shape[0]!, dBias);
  r.free(partial);
}
