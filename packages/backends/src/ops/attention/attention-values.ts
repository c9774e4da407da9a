/** Params of the attention kernels, and what they are for a call: shapes are checked here. */
import { DeviceError, type AttentionArgs, type Strided, type Tensor } from '@realhf/api';

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
