/** Rows of experts back to their tokens, weighted, and the backward of that. */
import { DeviceError, type MoeOps, type Tensor } from '@realhf/api';

import { defineKernel, grid1d, type Access } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './combine.wgsl';

const wg = { WG: 64 };
const kernel = (entry: string, access: readonly Access[]) =>
  defineKernel({
    name: `moe_${entry}`,
    source,
    entry,
    params: {
      count: 'u32',
      columns: 'u32',
      top_k: 'u32',
      weighted: 'u32',
      accumulate: 'u32',
    },
    access,
    variants: [wg],
  });
const combineKernel = kernel('combine', ['read_write', 'read', 'read', 'read']);
const backwardAccess = ['read_write', 'read', 'read', 'read', 'read', 'read_write'] as const;
const backwardKernel = kernel('backward', backwardAccess);
const workgroupKernel = kernel('backward_workgroup', backwardAccess);

function check(op: string, rows: Tensor, rowOf: Tensor, out: Tensor, weights?: Tensor) {
  const [tokens = 0, topK = 0] = rowOf.shape;
  const [t = 0, columns = 0] = out.shape;
  const fits =
    tokens === t && rows.size === t * topK * columns && (weights?.size ?? rowOf.size) === t * topK;
  if (!fits)
    throw new DeviceError(
      `${op} of rows [${rows.shape.join(', ')}] by [${rowOf.shape.join(', ')}] for [${out.shape.join(', ')}]: need [t·topK, dim], [t, topK] and [t, dim]`,
    );
  return { columns, top_k: topK };
}

export function moeCombine(r: Recorder, a: Parameters<MoeOps['moeCombine']>[0]): void {
  const size = check('moeCombine', a.rows, a.rowOf, a.out, a.weights);
  const count = a.out.size;
  if (count === 0) return;
  r.run(
    combineKernel,
    wg,
    [a.out, a.rows, a.rowOf, a.weights ?? a.rows],
    { ...size, count, weighted: a.weights ? 1 : 0, accumulate: a.accumulate ? 1 : 0 },
    grid1d(Math.ceil(count / wg.WG)),
  );
}

/** `workgroups`: the form for GPUs. */
export function moeCombineBackward(
  r: Recorder,
  a: Parameters<MoeOps['moeCombineBackward']>[0],
  workgroups = !r.isCpu,
): void {
  const size = check('moeCombineBackward', a.rows, a.rowOf, a.dOut, a.weights);
  const count = a.rowOf.size;
  if (count === 0) return;
  r.run(
    workgroups ? workgroupKernel : backwardKernel,
    wg,
    [a.dRows, a.rows, a.rowOf, a.weights, a.dOut, a.dWeights],
    { ...size, count, weighted: 1, accumulate: 0 },
    grid1d(workgroups ? count : Math.ceil(count / wg.WG)),
  );
}
