/**
 * Attention with dropped weights, forward and backward: a portable form of its own, so that the kernels without dropout
 * stay as they are. Nothing is stored but lse; factors are drawn again in backward. Queries and keys are rows of one batch.
 */
import {
  DeviceError,
  type AttentionArgs,
  type AttentionBackwardArgs,
  type AttentionDropout,
  type Tensor,
} from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import {
  attentionParams,
  attentionValues,
  expectSize,
  inVec4,
} from '../attention/attention-values.js';
import { attentionVariants, attentionWorkgroup } from '../attention/attention.js';
import source from './attention-dropout.wgsl';
import philoxSource from './philox.wgsl';

const params = {
  ...attentionParams,
  stream: 'u32',
  amount: 'f32',
  keep_scale: 'f32',
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
const inputs = ['read', 'read', 'read', 'read', 'read'] as const;
const forwardKernel = defineKernel({
  name: 'attention_dropout',
  source: `${philoxSource}\n${source}`,
  entry: 'forward',
  params,
  access: [...inputs, 'read_write', 'read_write'],
  variants: attentionVariants,
});
const backward = (entry: string) =>
  defineKernel({
    ...forwardKernel,
    name: `attention_dropout_${entry}`,
    entry,
    access: [...inputs, 'read', 'read', 'read', 'read_write'],
  });
const queryKernel = backward('dq');
const keyKernel = backward('dkv');

const noBackward = {
  t_kv: 0,
  dq_offset: 0,
  dq_stride: 0,
  dk_offset: 0,
  dk_stride: 0,
  dv_offset: 0,
  dv_stride: 0,
  write_k: 0,
  write_v: 0,
};

function values(a: AttentionArgs, d: AttentionDropout) {
  expectSize('attention', 'keys of dropout', d.keys, a.tQ);
  if (!(d.amount >= 0 && d.amount < 1))
    throw new DeviceError(`attention: dropout of ${d.amount} is not in [0, 1)`);
  if ((a.kvRangeStride ?? 2) !== 2 || (a.kvRangeOffset ?? 0) !== 0)
    throw new DeviceError('attention: dropout needs kvRange of [tQ, 2]');
  const rate = { stream: d.stream, amount: d.amount, keep_scale: 1 / (1 - d.amount) };
  return { ...attentionValues(a), ...rate, ...noBackward };
}

export function dropoutAttention(r: Recorder, a: AttentionArgs, d: AttentionDropout): void {
  const p = values(a, d);
  if (a.tQ === 0) return;
  const lse = a.lse ?? r.alloc([a.tQ, a.nHeads]);
  const constants = attentionWorkgroup(r);
  r.run(
    forwardKernel,
    constants,
    [a.q.tensor, a.k.tensor, a.v.tensor, a.kvRange, d.keys, a.out, lse],
    p,
    grid1d(Math.ceil((a.tQ * a.nHeads) / constants.WG)),
  );
  if (!a.lse) r.free(lse);
}

/** dq, dk and dv rows overwritten. */
export function dropoutAttentionBackward(
  r: Recorder,
  a: AttentionBackwardArgs,
  d: AttentionDropout,
): void {
  const [dq, dk, dv] = [inVec4('dq', a.dq), inVec4('dk', a.dk), inVec4('dv', a.dv)];
  const p = {
    ...values(a, d),
    t_kv: a.tKv,
    dq_offset: dq.offset,
    dq_stride: dq.stride,
    dk_offset: dk.offset,
    dk_stride: dk.stride,
    dv_offset: dv.offset,
    dv_stride: dv.stride,
  };
  expectSize('attentionBackward', 'qRange', a.qRange, 2 * a.tKv);
  if (a.tQ * a.tKv === 0) return;
  const constants = attentionWorkgroup(r);
  const tensors = (ranges: Tensor, out: Tensor) => [
    ...[a.q.tensor, a.k.tensor, a.v.tensor, ranges, d.keys],
    ...[a.out, a.lse, a.dOut, out],
  ];
  const grid = (rows: number) => grid1d(Math.ceil(rows / constants.WG));
  const queries = tensors(a.kvRange, a.dq.tensor);
  r.run(queryKernel, constants, queries, p, grid(a.tQ * a.nHeads));
  const keys = (tensor: Tensor, writeK: number, writeV: number) => {
    const flags = { ...p, write_k: writeK, write_v: writeV };
    r.run(keyKernel, constants, tensors(a.qRange, tensor), flags, grid(a.tKv * a.nKvHeads));
  };
  if (a.dk.tensor === a.dv.tensor) keys(a.dk.tensor, 1, 1);
  else {
    keys(a.dk.tensor, 1, 0);
    keys(a.dv.tensor, 0, 1);
  }
}
