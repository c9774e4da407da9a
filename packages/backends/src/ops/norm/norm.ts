/** LayerNorm, RMSNorm and Gemma's RMSNorm ((1 + w)·x̂), all in f32. A row's result depends on that row alone. */
import { DeviceError, type NormArgs, type Ops, type Tensor } from '@realhf/api';

import { grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { reduceColumns, rowsPerBlock } from '../bias/bias.js';
import { fewRows, panelsAlong } from '../matmul/f16-pack.js';
import {
  backwardQuadConstants,
  mostQuadColumns,
  panelsKernel,
  quadConstants,
  quadKernels,
  rowConstants,
  rowKernels,
  weightsConstants,
  weightsKernel,
  type NormVariant,
} from './norm-kernels.js';

export type { NormVariant } from './norm-kernels.js';
export type NormForwardArgs = Parameters<Ops['norm']>[0];
export type NormBackwardArgs = Parameters<Ops['normBackward']>[0];

const variantOf = (r: Recorder): NormVariant => (r.isCpu ? 'rows' : 'workgroup');

/** Rows that a workgroup does four columns at a time, with results equal to the other form's to the bit (forward). */
const byQuads = (variant: NormVariant, dim: number) =>
  variant === 'workgroup' && dim % 4 === 0 && dim <= mostQuadColumns;

/** out [rows, dim]; stats [rows, 2] = (mean, 1/σ), kept for backward. Throws DeviceError if sizes do not fit. */
export function norm(r: Recorder, args: NormForwardArgs, variant = variantOf(r)): void {
  const { x, weight, bias, out, stats, kind, eps } = args;
  const [rows, dim] = sizes('norm', args, out, stats);
  if (rows === 0) return;
  const { plain, withBias, groups } = rowKernels[variant];
  if (!bias && variant === 'workgroup' && fewRows(r, rows, dim)) {
    panelsAlong(r, out, (panels) => {
      const tensors = [out, stats, x, weight, panels];
      r.run(
        panelsKernel,
        rowConstants(variant, kind, dim),
        tensors,
        { rows, dim, eps },
        grid1d(rows),
      );
    });
    return;
  }
  const tensors = bias ? [out, stats, x, weight, bias] : [out, stats, x, weight];
  if (byQuads(variant, dim)) {
    const kernel = bias ? quadKernels.withBias : quadKernels.plain;
    r.run(kernel, quadConstants(kind, dim), tensors, { rows, quads: dim / 4, eps }, grid1d(rows));
    return;
  }
  r.run(
    bias ? withBias : plain,
    rowConstants(variant, kind, dim),
    tensors,
    { rows, dim, eps },
    grid1d(groups(rows)),
  );
}

/** dx [rows, dim] overwritten (or added to), dWeight and dBias [dim] accumulate. */
export function normBackward(r: Recorder, args: NormBackwardArgs, variant = variantOf(r)): void {
  const { x, weight, stats, dOut, dx, dWeight, dBias, kind } = args;
  const [rows, dim] = sizes('normBackward', args, dx, stats);
  if (dOut.size !== x.size || dWeight.size !== dim || (dBias && dBias.size !== dim))
    throw new DeviceError(
      `normBackward of [${x.shape.join(', ')}] with dOut [${dOut.shape.join(', ')}] into dWeight of ${dWeight.size} and dBias of ${dBias?.size ?? 0} elements`,
    );
  if (rows === 0) return;
  if (byQuads(variant, dim)) {
    backwardByQuads(r, args, rows, dim);
    return;
  }
  const { backward, groups } = rowKernels[variant];
  r.run(
    backward,
    rowConstants(variant, kind, dim),
    [dx, stats, x, weight, dOut],
    { rows, dim, accumulate: args.accumulate ? 1 : 0 },
    grid1d(groups(rows)),
  );
  const blocks = Math.ceil(rows / rowsPerBlock);
  const partial = r.alloc([2, blocks, dim]);
  r.run(
    weightsKernel,
    weightsConstants,
    [partial, stats, x, dOut],
    { rows, dim, blocks },
    grid1d(Math.ceil((blocks * dim) / weightsConstants.WG)),
  );
  reduceColumns(r, partial, 0, blocks, dWeight);
  if (dBias) reduceColumns(r, partial, blocks * dim, blocks, dBias);
  r.free(partial);
}

function backwardByQuads(r: Recorder, args: NormBackwardArgs, rows: number, dim: number): void {
  const { x, weight, stats, dOut, dx, dWeight, dBias, kind } = args;
  // Few rows: more workgroups. The order of the weights' sums depends on the number of rows alone.
  const block = rows > 4096 ? 16 : 4;
  const blocks = Math.ceil(rows / block);
  const partial = r.alloc([dBias ? 2 : 1, blocks, dim]);
  r.run(
    quadKernels.backward,
    backwardQuadConstants(kind, dim, r.device.limits.maxComputeInvocationsPerWorkgroup),
    [dx, partial, stats, x, weight, dOut],
    {
      rows,
      quads: dim / 4,
      block,
      blocks,
      accumulate: args.accumulate ? 1 : 0,
      with_bias: dBias ? 1 : 0,
    },
    grid1d(blocks),
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
