/** f32 to two f16 in a word and back: half the bytes on a wire, on every adapter (no shader-f16 needed). */
import { DeviceError, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './copy-blocks.wgsl';

const pack = defineKernel({
  name: 'pack_halves',
  source,
  entry: 'pack',
  params: { count: 'u32', total: 'u32', eta: 'f32' },
  access: ['read', 'read_write'],
  variants: [{ WG: 16, TILE: 16, HALF: 0 }],
});
const unpack = defineKernel({ ...pack, name: 'unpack_halves', entry: 'unpack' });

/** words[i] = f16 of floats[2i] and floats[2i + 1]; floats f32 [n], words u32 [⌈n/2⌉]. */
export function packHalves(r: Recorder, floats: Tensor, words: Tensor): void {
  run(r, pack, floats, words, [floats, words]);
}

/** The other way. */
export function unpackHalves(r: Recorder, words: Tensor, floats: Tensor): void {
  run(r, unpack, floats, words, [words, floats]);
}

function run(
  r: Recorder,
  kernel: typeof pack,
  floats: Tensor,
  words: Tensor,
  tensors: readonly Tensor[],
): void {
  if (words.size !== Math.ceil(floats.size / 2) || words.dtype !== 'u32')
    throw new DeviceError(
      `halves of ${floats.size} elements need u32 [${Math.ceil(floats.size / 2)}], got ${words.dtype} [${words.shape.join(', ')}]`,
    );
  if (floats.size === 0) return;
  const wg = { WG: r.isCpu ? 16 : 256, TILE: 16, HALF: 0 };
  r.run(
    kernel,
    wg,
    tensors,
    { count: 0, total: floats.size, eta: 1 },
    grid1d(Math.ceil(words.size / wg.WG)),
  );
}
