/**
 * Backward of attention: dq, dk, dv overwritten, by recomputation from q, k, v and lse. dq, dk and dv may lie in one
 * tensor (the gradient of a fused qkv), which is cheaper than dk and dv apart.
 */
import type { AttentionBackwardArgs, Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { attentionBackwardF16, fitsF16Attention } from './attention-f16.js';
import { attentionParams, attentionValues, expectSize, inVec4 } from './attention-values.js';
import { attentionVariants, attentionWorkgroup } from './attention.js';
import { backwardTiles, type AttentionTiles } from './attention-tiles.js';
import workgroupSource from './attention-backward-workgroup.wgsl';
import backwardSource from './attention-backward.wgsl';

const params = {
  ...attentionParams,
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
const workgroupVariants = [
  { D4: 16, QT: 8, G: 4, RG: 8, BK: 32, KS: 16, TC: 2, KV: 16, CV: 1, WG: 128 },
  { D4: 4, QT: 64, G: 1, RG: 16, BK: 32, KS: 8, TC: 4, KV: 4, CV: 1, WG: 128 },
];
const queryGradientGroup = defineKernel({
  ...queryGradient,
  name: 'attention_dq_workgroup',
  source: workgroupSource,
  variants: workgroupVariants,
});
const keyGradientGroup = defineKernel({
  ...keyGradient,
  name: 'attention_dkv_workgroup',
  source: workgroupSource,
  variants: workgroupVariants,
});

/** dq [tQ], dk and dv [tKv] rows overwritten. Throws DeviceError when shapes don't fit. */
export function attentionBackward(
  r: Recorder,
  a: AttentionBackwardArgs,
  tiles: AttentionTiles | undefined = r.isCpu ? undefined : backwardTiles(r, a),
): void {
  const [dq, dk, dv] = [inVec4('dq', a.dq), inVec4('dk', a.dk), inVec4('dv', a.dv)];
  const values = {
    ...attentionValues(a),
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
  if (fitsF16Attention(r, a)) {
    attentionBackwardF16(r, a, values);
    return;
  }
  const constants = tiles ?? attentionWorkgroup(r);
  const delta = r.alloc([Math.max(1, a.tQ), a.nHeads]);
  const inputs = [a.q.tensor, a.k.tensor, a.v.tensor, a.kvRange, a.lse, a.dOut];
  /** Four rows of a head an invocation, or a workgroup per `rows` rows of a kv head. */
  const grid = (count: number, heads: number, rows: number) =>
    tiles
      ? grid1d(Math.ceil(count / rows) * a.nKvHeads)
      : grid1d(Math.ceil((Math.ceil(count / 4) * heads) / constants.WG));
  if (a.tQ > 0)
    r.run(
      tiles ? queryGradientGroup : queryGradient,
      constants,
      [...inputs, a.out, delta, a.dq.tensor],
      values,
      grid(a.tQ, a.nHeads, tiles?.QT ?? 1),
    );
  const run = (tensor: Tensor, writeK: number, writeV: number) => {
    r.run(
      tiles ? keyGradientGroup : keyGradient,
      constants,
      [...inputs, a.qRange, delta, tensor],
      { ...values, write_k: writeK, write_v: writeV },
      grid(a.tKv, a.nKvHeads, 4 * (tiles?.RG ?? 1)),
    );
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
