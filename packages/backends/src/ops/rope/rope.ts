/** Rotary position embedding on halves (Su et al., arXiv 2104.09864; the GPT-NeoX layout), in place; `inverse` is its backward. */
import { DeviceError, type Ops } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import quadsSource from './rope-quads.wgsl';
import source from './rope.wgsl';

export type RopeArgs = Parameters<Ops['rope']>[0];

const wg = { WG: 64 };
const kernel = defineKernel({
  name: 'rope',
  source,
  entry: 'main',
  params: {
    rows: 'u32',
    heads: 'u32',
    head_dim: 'u32',
    half: 'u32',
    offset: 'u32',
    stride: 'u32',
    position_stride: 'u32',
    position_offset: 'u32',
    direction: 'f32',
  },
  access: ['read_write', 'read', 'read'],
  variants: [wg],
});

const quadSizes = { WG: 64, HEADS: 4 };
const quads = defineKernel({
  ...kernel,
  name: 'rope_quads',
  source: quadsSource,
  variants: [quadSizes],
});

/** x rows of nHeads·headDim; positions u32; cosSin f32 [maxPosition, rotaryDim] = cos ‖ sin. */
export function rope(r: Recorder, args: RopeArgs): void {
  const { x, rows, nHeads, headDim, rotaryDim, positions, cosSin } = args;
  const [positionStride, positionOffset] = [args.positionStride ?? 1, args.positionOffset ?? 0];
  const half = rotaryDim / 2;
  const count = rows * nHeads * half;
  if (count === 0) return;
  if (!Number.isInteger(half) || rotaryDim > headDim || cosSin.shape.at(-1) !== rotaryDim)
    throw new DeviceError(
      `rope of ${rotaryDim} of ${headDim} columns with cosSin [${cosSin.shape.join(', ')}]: need an even rotaryDim ≤ headDim and cosSin [positions, rotaryDim]`,
    );
  const lastX = x.offset + (rows - 1) * x.stride + nHeads * headDim;
  const lastPosition = positionStride * (rows - 1) + positionOffset;
  if (lastX > x.tensor.size || lastPosition >= positions.size)
    throw new DeviceError(
      `rope of ${rows} rows exceeds x (${lastX} of ${x.tensor.size} elements) or positions (${lastPosition + 1} of ${positions.size})`,
    );
  const params = {
    rows,
    heads: nHeads,
    head_dim: headDim,
    half,
    offset: x.offset,
    stride: x.stride,
    position_stride: positionStride,
    position_offset: positionOffset,
    direction: args.inverse ? -1 : 1,
  };
  if ([half, headDim, x.offset, x.stride].every((n) => n % 4 === 0)) {
    const by4 = {
      ...params,
      head_dim: headDim / 4,
      half: half / 4,
      offset: x.offset / 4,
      stride: x.stride / 4,
    };
    const work = (rows * Math.ceil(nHeads / quadSizes.HEADS) * half) / 4;
    const grid = grid1d(Math.ceil(work / quadSizes.WG));
    r.run(quads, quadSizes, [x.tensor, positions, cosSin], by4, grid);
    return;
  }
  r.run(kernel, wg, [x.tensor, positions, cosSin], params, grid1d(Math.ceil(count / wg.WG)));
}
