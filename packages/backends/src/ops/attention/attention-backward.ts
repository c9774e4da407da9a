/**
 * Backward of attention: dq, dk, dv overwritten, by recomputation from q, k, v and lse. dq, dk and dv may lie in one
 * tensor (the gradient of a fused qkv), which is cheaper than dk and dv apart.
 */
import type { AttentionBackwardArgs, Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import {
  attentionParams,
  attentionValues,
  attentionVariants,
  attentionWorkgroup,
  expectSize,
  inVec4,
} from './attention.js';
import backwardSource from './attention-backward.wgsl';

const params = {
  ...attentionParams,
  n_kv_heads: 'u32',
  t_kv: 'u32',
  dq_offset: 'u32',
  dq_stride: 'u32',
  dk_offset: 'u32',
  dk_stride: 'u32',
  dv_offset: 'u32',
  dv_stride: 'u32',
  write_k: 'u32',
  write_v: 'u32',
} as const;

const common = ['read', 'read', 'read', 'read', 'read', 'read', 'read'] as const;
const queryGradient = defineKernel({
  name: 'attention_dq',
  source: backwardSource,
  entry: 'dq',
  params,
  access: [...common, 'read_write', 'read_write'],
  variants: attentionVariants,
});
const keyGradient = defineKernel({
  name: 'attention_dkv',
  source: backwardSource,
  entry: 'dkv',
  params,
  access: [...common, 'read', 'read_write'],
  variants: attentionVariants,
});
/** dq [tQ], dk and dv [tKv] rows overwritten. Throws DeviceError when shapes don't fit. */
export function attentionBackward(r: Recorder, a: AttentionBackwardArgs): void {
  const [dq, dk, dv] = [inVec4('dq', a.dq), inVec4('dk', a.dk), inVec4('dv', a.dv)];
  const values = {
    ...attentionValues(a),
    n_kv_heads: a.nKvHeads,
    t_kv: a.tKv,
    dq_offset: dq.offset,
    dq_stride: dq.stride,
    dk_offset: dk.offset,
    dk_stride: dk.stride,
    dv_offset: dv.offset,
    dv_stride: dv.stride,
    write_k: 0,
    write_v: 0,
  };
  expectSize('attentionBackward', 'qRange', a.qRange, 2 * a.tKv);
  expectSize('attentionBackward', 'dOut', a.dOut, a.tQ * a.nHeads * a.headDim);
  const wg = attentionWorkgroup(r);
  const delta = r.alloc([Math.max(1, a.tQ), a.nHeads]);
  const inputs = [a.q.tensor, a.k.tensor, a.v.tensor, a.kvRange, a.lse, a.dOut];
  const grid = (rows: number, heads: number) =>
    grid1d(Math.ceil((Math.ceil(rows / 4) * heads) / wg.WG));
  if (a.tQ > 0)
    r.run(queryGradient, wg, [...inputs, a.out, delta, a.dq.tensor], values, grid(a.tQ, a.nHeads));
  const keyGrid = grid(a.tKv, a.nKvHeads);
  const run = (tensor: Tensor, writeK: number, writeV: number) => {
    const params = { ...values, write_k: writeK, write_v: writeV };
    r.run(keyGradient, wg, [...inputs, a.qRange, delta, tensor], params, keyGrid);
  };
  if (a.tKv > 0) {
    if (a.dk.tensor === a.dv.tensor) run(a.dk.tensor, 1, 1);
    else {
      run(a.dk.tensor, 1, 0);
      run(a.dv.tensor, 0, 1);
    }
  }
  r.free(delta);
}
