/**
 * Backward of attention: dq, dk, dv overwritten, by recomputation from q, k, v and lse. dq, dk and dv may lie in one
 * tensor (the gradient of a fused qkv); no two of them may be different views of one buffer.
 */
import type { AttentionBackwardArgs } from '@realhf/api';

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
const keyGradientApart = defineKernel({
  name: 'attention_dkv_apart',
  source: backwardSource,
  entry: 'dkv_apart',
  params,
  access: [...common, 'read', 'read_write', 'read_write'],
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
  };
  expectSize('attentionBackward', 'qRange', a.qRange, 2 * a.tKv);
  expectSize('attentionBackward', 'dOut', a.dOut, a.tQ * a.nHeads * a.headDim);
  const constants = { D4: a.headDim / 4, WG: attentionWorkgroup(r) };
  const delta = r.alloc([Math.max(1, a.tQ), a.nHeads]);
  const inputs = [a.q.tensor, a.k.tensor, a.v.tensor, a.kvRange, a.lse, a.dOut];
  if (a.tQ > 0)
    r.run(
      queryGradient,
      constants,
      [...inputs, a.out, delta, a.dq.tensor],
      values,
      grid1d(Math.ceil((a.tQ * a.nHeads) / constants.WG)),
    );
  if (a.tKv > 0) {
    const grid = grid1d(Math.ceil((a.tKv * a.nKvHeads) / constants.WG));
    const tensors = [...inputs, a.qRange, delta, a.dk.tensor];
    if (a.dk.tensor === a.dv.tensor) r.run(keyGradient, constants, tensors, values, grid);
    else r.run(keyGradientApart, constants, [...tensors, a.dv.tensor], values, grid);
  }
  r.free(delta);
}
