/**
 * Copies lists of strided blocks between flat tensors: gather, scatter and local copy of a parameter reallocation. With
 * eta ≠ 1 it is the exponential moving average dst = eta·src + (1 − eta)·dst. Only places in the list are touched.
 */
import { DeviceError, type CopyBlocksArgs } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './copy-blocks.wgsl';

const copy = defineKernel({
  name: 'copy_blocks',
  source,
  entry: 'copy',
  params: { count: 'u32', total: 'u32', eta: 'f32' },
  access: ['read', 'read', 'read_write'],
  variants: [
    { WG: 16, TILE: 1024, HALF: 0 },
    { WG: 256, TILE: 4096, HALF: 1 },
  ],
});
const copy4 = defineKernel({ ...copy, name: 'copy_blocks_4', entry: 'copy4' });
const blend = defineKernel({ ...copy, name: 'blend_blocks', entry: 'blend' });
const blend4 = defineKernel({ ...copy, name: 'blend_blocks_4', entry: 'blend4' });

/** See Ops.copyBlocks. Throws DeviceError on f16 tensors and lists that are not [n, 6]. */
export function copyBlocks(r: Recorder, args: CopyBlocksArgs): void {
  const { src, blocks, total, dst, aligned = false, eta = 1, toHalf = false } = args;
  if (src.dtype === 'f16' || dst.dtype === 'f16')
    throw new DeviceError(
      'copyBlocks of an f16 tensor: only 32-bit types; packHalves makes halves',
    );
  if (blocks.dtype !== 'u32' || blocks.size % 6 !== 0)
    throw new DeviceError(
      `copyBlocks: blocks [${blocks.shape.join(', ')}] ${blocks.dtype} is not u32 [n, 6]`,
    );
  const count = blocks.size / 6;
  if (count === 0 || total === 0) return;
  if (aligned && total % 4 !== 0)
    throw new DeviceError(`copyBlocks: ${total} elements in aligned blocks; a multiple of 4 it is`);
  const units = aligned ? total / 4 : total;
  const sizes = r.isCpu ? { WG: 16, TILE: 1024 } : { WG: 256, TILE: aligned ? 1024 : 4096 };
  const kernel = eta === 1 ? (aligned ? copy4 : copy) : aligned ? blend4 : blend;
  r.run(
    kernel,
    { ...sizes, HALF: toHalf ? 1 : 0 },
    [src, blocks, dst],
    { count, total: units, eta },
    grid1d(Math.ceil(units / sizes.TILE)),
  );
}
