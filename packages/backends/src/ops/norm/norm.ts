/** LayerNorm, RMSNorm and Gemma's RMSNorm ((1 + w)·x̂), all in f32. A row's result depends on that row alone. */
import { DeviceError, type NormArgs, type Ops, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { reduceColumns, rowsPerBlock } from '../bias/bias.js';
import backwardSource from './norm-backward-rows.wgsl';
import rowsSource from './norm-rows.wgsl';
import weightsSource from './norm-weights.wgsl';

export type NormForwardArgs = Parameters<Ops['norm']>[0];
export type NormBackwardArgs = Parameters<Ops['normBackward']>[0];

const wg = 8;
const weightsWg = 64;
const kinds: Readonly<Record<NormArgs['kind'], number>> = { layer: 0, rms: 1, gemma: 2 };
const constants = (kind: NormArgs['kind'], dim: number) => ({
  WG: wg,
  KIND: kinds[kind],
  DIM: dim,
});
const variants = (['layer', 'rms', 'gemma'] as const).map((kind) => constants(kind, 48));
const forwardParams = { rows: 'u32', eps: 'f32' } as const;
const plain = defineKernel({
  name: 'norm_rows',
  source: rowsSource,
  entry: 'plain',
  params: forwardParams,
  access: ['read_write', 'read_write', 'read', 'read'],
  variants,
});
const withBias = defineKernel({
  name: 'norm_rows_bias',
  source: rowsSource,
  entry: 'with_bias',
  params: forwardParams,
  access: ['read_write', 'read_write', 'read', 'read', 'read'],
  variants,
});
const backwardKernel = defineKernel({
  name: 'norm_backward_rows',
  source: backwardSource,
  entry: 'main',
  params: { rows: 'u32', accumulate: 'u32' },
  access: ['read_write', 'read', 'read', 'read', 'read'],
  variants,
});
const weightsConstants = (dim: number) => ({ WG: weightsWg, BLOCK: rowsPerBlock, DIM: dim });
const weightsKernel = defineKernel({
  name: 'norm_weights',
  source: weightsSource,
  entry: 'main',
  params: { rows: 'u32', blocks: 'u32' },
  access: ['read_write', 'read', 'read', 'read'],
  variants: [weightsConstants(48)],
});

/** out [rows, dim]; stats [rows, 2] = (mean, 1/σ), kept for backward. Throws DeviceError if sizes do not fit. */
export function norm(r: Recorder, args: NormForwardArgs): void {
  const { x, weight, bias, out, stats, kind, eps } = args;
  const [rows, dim] = sizes('norm', args, out, stats);
  if (rows === 0) return;
  r.run(
    bias ? withBias : plain,
    constants(kind, dim),
    bias ? [out, stats, x, weight, bias] : [out, stats, x, weight],
    { rows, eps },
    grid1d(Math.ceil(rows / wg)),
  );
}

/** dx [rows, dim] overwritten (or added to), dWeight and dBias [dim] accumulate. */
export function normBackward(r: Recorder, args: NormBackwardArgs): void {
  const { x, weight, stats, dOut, dx, dWeight, dBias, kind } = args;
  const [rows, dim] = sizes('normBackward', args, dx, stats);
  if (dOut.size !== x.size || dWeight.size !== dim || (dBias && dBias.size !== dim))
    throw new DeviceError(
      `normBackward of [${x.shape.join(', ')}] with dOut [${dOut.shape.join(', ')}] into dWeight of ${dWeight.size} and dBias of ${dBias?.size ?? 0} elements`,
    );
  if (rows === 0) return;
  r.run(
    backwardKernel,
    constants(kind, dim),
    [dx, stats, x, weight, dOut],
    { rows, accumulate: args.accumulate ? 1 : 0 },
    grid1d(Math.ceil(rows / wg)),
  );
  const blocks = Math.ceil(rows / rowsPerBlock);
  const partial = r.alloc([2, blocks, dim]);
  r.run(
    weightsKernel,
    weightsConstants(dim),
    [partial, stats, x, dOut],
    { rows, blocks },
    grid1d(Math.ceil((blocks * dim) / weightsWg)),
  );
  reduceColumns(r, partial, 0, blocks, dWeight);
  if (dBias) reduceColumns(r, partial, blocks * dim, blocks, dBias);
  r.free(partial);
}

function sizes(what: string, args: NormArgs, out: Tensor, stats: Tensor): [number, number] {
  const dim = args.weight.size;
  const rows = args.x.size / dim;
  const fits = args.x.shape.at(-1) === dim && out.size === args.x.size && stats.size === 2 * rows;
  if (!fits || (args.bias && (args.bias.size !== dim || args.kind !== 'layer')))
    throw new DeviceError(
      `${what} (${args.kind}) of [${args.x.shape.join(', ')}] with weight of ${dim}, bias of ${args.bias?.size ?? 0}, stats of ${stats.size}: need [rows, dim], dim, bias for layer norm only, 2·rows`,
    );
  return [rows, dim];
}
