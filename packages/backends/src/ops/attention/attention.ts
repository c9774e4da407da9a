/**
 * Attention over key ranges: the same kernel serves packed causal training, prefill, and decode over a KV cache.
 * A query's result depends on its own row and keys only, in the order of the keys from kvRange's begin, so it is
 * bit-equal whatever else is in the batch. An empty range gives zeros and lse 0. No [tokens, tokens] memory.
 */
import { DeviceError, type AttentionArgs, type Strided, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { manyQueries, oneQuery, type AttentionTiles } from './attention-tiles.js';
import workgroupSource from './attention-workgroup.wgsl';
import forwardSource from './attention.wgsl';
import denseKeys from './dense-keys.wgsl';

export const attentionParams = {
  d4: 'u32',
  t_q: 'u32',
  n_heads: 'u32',
  n_kv_heads: 'u32',
  scale: 'f32',
  group: 'u32',
  q_head_offset: 'u32',
  kv_head_offset: 'u32',
  q_offset: 'u32',
  q_stride: 'u32',
  k_offset: 'u32',
  k_stride: 'u32',
  v_offset: 'u32',
  v_stride: 'u32',
  range_stride: 'u32',
  range_offset: 'u32',
} as const;

export const attentionVariants = [{ WG: 8 }];

const access = ['read', 'read', 'read', 'read', 'read_write', 'read_write'] as const;
const one = defineKernel({
  name: 'attention_one',
  source: denseKeys + forwardSource,
  entry: 'one',
  params: attentionParams,
  access,
  variants: attentionVariants,
});
const four = defineKernel({ ...one, name: 'attention_four', entry: 'four' });

const workgroup = defineKernel({
  ...one,
  name: 'attention_workgroup',
  source: workgroupSource,
  entry: 'main',
  variants: [oneQuery(16, 8), { ...oneQuery(16, 4), QT: 16, RG: 16, KS: 8, TC: 4, KV: 8, CV: 2 }],
});

/** Offset and stride in vec4s. */
export function inVec4(name: string, s: Strided): { offset: number; stride: number } {
  if (s.offset % 4 !== 0 || s.stride % 4 !== 0)
    throw new DeviceError(
      `attention: ${name} starts at element ${s.offset} with row stride ${s.stride}; both must be multiples of 4`,
    );
  return { offset: s.offset / 4, stride: s.stride / 4 };
}

export function expectSize(op: string, name: string, t: Tensor, size: number): void {
  if (t.size < size)
    throw new DeviceError(
      `${op}: ${name} has ${t.size} elements [${t.shape.join(', ')}], needs ${size}`,
    );
}

type Heads = Pick<
  AttentionArgs,
  'tQ' | 'nHeads' | 'nKvHeads' | 'headDim' | 'scale' | 'group' | 'qHeadOffset' | 'kvHeadOffset'
>;

/** The params that describe heads; throws DeviceError when they don't fit together. */
export function headValues(op: string, a: Heads) {
  if (a.headDim % 4 !== 0)
    throw new DeviceError(`${op}: head_dim ${a.headDim} is not a multiple of 4`);
  const group = a.group ?? Math.max(1, Math.floor(a.nHeads / a.nKvHeads));
  const qHeadOffset = a.qHeadOffset ?? 0;
  const kvHeadOffset = a.kvHeadOffset ?? 0;
  const first = Math.floor(qHeadOffset / group) - kvHeadOffset;
  const last = Math.floor((a.nHeads - 1 + qHeadOffset) / group) - kvHeadOffset;
  if (first < 0 || last >= a.nKvHeads)
    throw new DeviceError(
      `${op}: ${a.nHeads} q heads from ${qHeadOffset} in groups of ${group} need kv heads ${first} to ${last}, there are ${a.nKvHeads} from ${kvHeadOffset}`,
    );
  return {
    d4: a.headDim / 4,
    t_q: a.tQ,
    n_heads: a.nHeads,
    n_kv_heads: a.nKvHeads,
    scale: a.scale,
    group,
    q_head_offset: qHeadOffset,
    kv_head_offset: kvHeadOffset,
  };
}

/** The params that forward and backward share; throws DeviceError when shapes don't fit. */
export function attentionValues(a: AttentionArgs) {
  const heads = headValues('attention', a);
  const rangeStride = a.kvRangeStride ?? 2;
  const rangeOffset = a.kvRangeOffset ?? 0;
  expectSize('attention', 'kvRange', a.kvRange, (a.tQ - 1) * rangeStride + rangeOffset + 2);
  expectSize('attention', 'out', a.out, a.tQ * a.nHeads * a.headDim);
  if (a.lse) expectSize('attention', 'lse', a.lse, a.tQ * a.nHeads);
  const [q, k, v] = [inVec4('q', a.q), inVec4('k', a.k), inVec4('v', a.v)];
  return {
    ...heads,
    q_offset: q.offset,
    q_stride: q.stride,
    k_offset: k.offset,
    k_stride: k.stride,
    v_offset: v.offset,
    v_stride: v.stride,
    range_stride: rangeStride,
    range_offset: rangeOffset,
  };
}

/** Workgroup size: small on CPUs so that a small batch still spreads over the cores. */
export const attentionWorkgroup = (r: Recorder) => ({ WG: r.isCpu ? 8 : 64 });

const tensorsOf = (a: AttentionArgs, lse: Tensor) => [
  a.q.tensor,
  a.k.tensor,
  a.v.tensor,
  a.kvRange,
  a.out,
  lse,
];

/** out = softmax(scale·q·kᵀ over kvRange)·v; lse too when given. */
export function attention(r: Recorder, a: AttentionArgs): void {
  const p = attentionValues(a);
  // All calls with this head size and group must take the same form: the order of sums differs between the two.
  const many = r.isCpu ? undefined : manyQueries(r, p.d4, p.group);
  if (!many) {
    attentionByInvocations(r, a);
    return;
  }
  // Decoding has a key range per query in the sampling state; a short batch fills the device better one by one.
  const blocks = Math.ceil(a.tQ / many.QT) * a.nKvHeads;
  const decoding = p.range_stride !== 2 || blocks < 128;
  attentionByWorkgroups(r, a, decoding ? oneQuery(p.d4, p.group) : many);
}

/** For software adapters, and for heads that don't fit into workgroup memory. */
export function attentionByInvocations(r: Recorder, a: AttentionArgs): void {
  const params = attentionValues(a);
  if (a.tQ === 0) return;
  const wg = attentionWorkgroup(r);
  const lse = a.lse ?? r.alloc([a.tQ, a.nHeads]);
  // Four queries share the loads of a key; a decode batch shares no keys and has too few queries to fill the device.
  const shared = a.tQ * a.nHeads > 1024;
  const items = (shared ? Math.ceil(a.tQ / 4) : a.tQ) * a.nHeads;
  r.run(shared ? four : one, wg, tensorsOf(a, lse), params, grid1d(Math.ceil(items / wg.WG)));
  if (!a.lse) r.free(lse);
}

/** For GPUs. The tiles don't change a bit of the result. */
export function attentionByWorkgroups(r: Recorder, a: AttentionArgs, tiles: AttentionTiles): void {
  const params = attentionValues(a);
  if (a.tQ === 0) return;
  const lse = a.lse ?? r.alloc([a.tQ, a.nHeads]);
  const blocks = Math.ceil(a.tQ / tiles.QT) * a.nKvHeads;
  r.run(workgroup, tiles, tensorsOf(a, lse), params, grid1d(blocks));
  if (!a.lse) r.free(lse);
}
