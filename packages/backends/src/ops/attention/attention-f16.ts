/**
 * Attention with f16 operands on the matrix units, forward and backward, for head sizes of 64 and 128: what matmul
 * precision 'f16' asks for. Sums and the softmax are f32. Decoding stays in f32 (its kernel reads a cache once, whatever
 * the arithmetic), so under 'f16' decoded log-probs equal recomputed ones up to the rounding of f16. Rows do not depend on the
 * rows beside them, except that a window's edge may fall elsewhere in a tile.
 */
import type { AttentionArgs, AttentionBackwardArgs, Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import convertSource from '../matmul/f16-convert.wgsl';
import { largestOf } from '../matmul/f16-largest.js';
import backwardSource from './attention-f16-backward.wgsl';
import dkvSource from './attention-f16-dkv.wgsl';
import dqSource from './attention-f16-dq.wgsl';
import matricesSource from './attention-f16-matrices.wgsl';
import forwardSource from './attention-f16.wgsl';
import { attentionParams, attentionValues } from './attention-values.js';

const enables = ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'];
/** Rows of a workgroup of the backward pass: queries times the heads of a group. */
const rows = 64;

/** D: head size; BK: columns of a tile; SN: subgroups that share a block of 16 rows. */
const constants = (headDim: number, group: number, bk: number) => ({
  D: headDim,
  R: rows,
  BK: headDim === 64 ? bk : 32,
  SN: headDim / 64,
  QT: Math.floor(rows / group),
  G: group,
});
const variants = (bk: number) => [constants(64, 8, bk), constants(128, 1, bk)];
/** Of the forward pass, which takes twice as many rows: keys and values are fetched half as often. */
const forwardConstants = (headDim: number, group: number) => ({
  D: headDim,
  R: 128,
  BK: 32,
  SN: headDim / 64,
  QT: Math.floor(128 / group),
  G: group,
});
const stored = 'alias KV = vec4f;\nfn as_half(x: KV) -> vec4<f16> { return half4(x); }\n';

const forward = defineKernel({
  name: 'attention_f16',
  source: [convertSource, stored, matricesSource, forwardSource].join('\n'),
  entry: 'main',
  params: attentionParams,
  access: ['read', 'read', 'read', 'read', 'read_write', 'read_write'],
  variants: [forwardConstants(64, 8), forwardConstants(128, 1)],
  enables,
});
const backwardParams = {
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
const reads = ['read', 'read', 'read', 'read', 'read', 'read', 'read', 'read'] as const;
const backwardSources = [convertSource, matricesSource, backwardSource];
const queryGradient = defineKernel({
  name: 'attention_f16_dq',
  source: [...backwardSources, dqSource].join('\n'),
  entry: 'dq',
  params: backwardParams,
  access: [...reads, 'read_write', 'read_write'],
  variants: variants(64),
  enables,
});
const keyGradient = defineKernel({
  name: 'attention_f16_dkv',
  source: [...backwardSources, dkvSource].join('\n'),
  entry: 'dkv',
  params: backwardParams,
  access: [...reads, 'read', 'read_write'],
  variants: variants(32),
  enables,
});

/** Is there an f16 form for these heads on this device? Ranges elsewhere than in pairs are decoding. */
export function fitsF16Attention(r: Recorder, a: AttentionArgs): boolean {
  const { group, range_stride } = attentionValues(a);
  return (
    r.f16Attention && (a.headDim === 64 || a.headDim === 128) && group <= rows && range_stride === 2
  );
}

export function attentionF16(r: Recorder, a: AttentionArgs): void {
  const values = attentionValues(a);
  if (a.tQ === 0) return;
  const c = forwardConstants(a.headDim, values.group);
  const lse = a.lse ?? r.alloc([a.tQ, a.nHeads]);
  const blocks = Math.ceil(a.tQ / c.QT) * a.nKvHeads;
  r.run(
    forward,
    c,
    [a.q.tensor, a.k.tensor, a.v.tensor, a.kvRange, a.out, lse],
    values,
    grid1d(blocks),
  );
  if (!a.lse) r.free(lse);
}

type BackwardValues = { readonly [K in keyof typeof backwardParams]: number };

/** `values`: shapes as attentionBackward found them right. */
export function attentionBackwardF16(
  r: Recorder,
  a: AttentionBackwardArgs,
  values: BackwardValues,
): void {
  const largest = largestOf(r, a.dOut);
  const delta = r.alloc([Math.max(1, a.tQ), a.nHeads]);
  const inputs = [a.q.tensor, a.k.tensor, a.v.tensor, a.kvRange, a.lse, a.dOut, largest];
  const { group } = values;
  const c = constants(a.headDim, group, 64);
  if (a.tQ > 0)
    r.run(
      queryGradient,
      c,
      [...inputs, a.out, delta, a.dq.tensor],
      values,
      grid1d(Math.ceil(a.tQ / c.QT) * a.nKvHeads),
    );
  const run = (tensor: Tensor, write_k: number, write_v: number) => {
    r.run(
      keyGradient,
      constants(a.headDim, group, 32),
      [...inputs, a.qRange, delta, tensor],
      { ...values, write_k, write_v },
      grid1d(Math.ceil(a.tKv / rows) * a.nKvHeads),
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
