/**
 * Dropout and jitter: every element times a factor that a counter-based generator gives for (key of the row, stream,
 * column). Nothing is stored: backward draws the same factors again.
 */
import { DeviceError, type RandomScaleArgs } from '@realhf/api';

import { deviceTensor } from '../../webgpu/device-tensor.js';
import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import philoxSource from './philox.wgsl';
import source from './random-scale.wgsl';

const wg = 64;
const kinds = { dropout: 0, jitter: 1 } as const;
const kernel = defineKernel({
  name: 'random_scale',
  source: `${philoxSource}\n${source}`,
  entry: 'main',
  params: {
    rows: 'u32',
    columns: 'u32',
    stream: 'u32',
    accumulate: 'u32',
    amount: 'f32',
    scale: 'f32',
  },
  access: ['read_write', 'read', 'read'],
  variants: [
    { WG: wg, KIND: 0 },
    { WG: wg, KIND: 1 },
  ],
});
const inPlaceKernel = defineKernel({
  ...kernel,
  name: 'random_scale_in_place',
  entry: 'in_place',
  access: ['read_write', 'read'],
});

/** Throws DeviceError where shapes do not fit or `amount` is not in [0, 1). */
export function randomScale(r: Recorder, a: RandomScaleArgs): void {
  const rows = a.keys.size;
  const columns = rows === 0 ? 0 : a.x.size / rows;
  if (!Number.isInteger(columns) || a.out.size !== a.x.size || !(a.amount >= 0 && a.amount < 1))
    throw new DeviceError(
      `randomScale by ${a.amount} of [${a.x.shape.join(', ')}] with ${rows} keys into [${a.out.shape.join(', ')}]: need [rows, columns], a key per row, an amount in [0, 1)`,
    );
  if (rows * columns === 0) return;
  const [from, to] = [deviceTensor(a.x), deviceTensor(a.out)];
  const inPlace = from.buffer === to.buffer && from.byteOffset === to.byteOffset;
  if (inPlace && a.accumulate)
    throw new DeviceError('randomScale cannot accumulate in place: give another output');
  r.run(
    inPlace ? inPlaceKernel : kernel,
    { WG: wg, KIND: kinds[a.kind] },
    inPlace ? [a.out, a.keys] : [a.out, a.keys, a.x],
    {
      rows,
      columns,
      stream: a.stream,
      accumulate: a.accumulate ? 1 : 0,
      amount: a.amount,
      scale: 1 / (1 - a.amount),
    },
    grid1d(Math.ceil((rows * Math.ceil(columns / 2)) / wg)),
  );
}
