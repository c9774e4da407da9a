/**
 * Attention over keys in pages, and the kernel that puts keys there. The arithmetic is that of ops/attention, from the
 * same files: a query gets the bits that it gets in a packed batch, wherever its pages are.
 */
import { DeviceError, type Ops, type PagedAttentionArgs, type PagedKeys } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { manyQueries, oneQuery } from '../attention/attention-tiles.js';
import { expectSize, headValues, inVec4 } from '../attention/attention-values.js';
import workgroupSource from '../attention/attention-workgroup.wgsl';
import { attentionWorkgroup } from '../attention/attention.js';
import forwardSource from '../attention/attention.wgsl';
import pagedKeys from './paged-keys.wgsl';
import writeSource from './write-pages.wgsl';

const one = defineKernel({
  name: 'paged_attention_one',
  source: pagedKeys + forwardSource,
  entry: 'one',
  params: {
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
    row_stride: 'u32',
    row_offset: 'u32',
    table_stride: 'u32',
    page_bits: 'u32',
    window: 'u32',
  },
  access: ['read', 'read', 'read', 'read', 'read_write', 'read_write', 'read'],
  variants: [{ WG: 8 }],
});
const four = defineKernel({ ...one, name: 'paged_attention_four', entry: 'four' });

const workgroup = defineKernel({
  ...one,
  name: 'paged_attention_workgroup',
  source: pagedKeys + workgroupSource,
  entry: 'main',
  variants: [oneQuery(16, 8)],
});

const write = defineKernel({
  name: 'write_pages',
  source: writeSource,
  entry: 'main',
  params: {
    count: 'u32',
    columns: 'u32',
    limit: 'u32',
    k_offset: 'u32',
    k_stride: 'u32',
    v_offset: 'u32',
    v_stride: 'u32',
    row_stride: 'u32',
    row_offset: 'u32',
    table_stride: 'u32',
    page_bits: 'u32',
  },
  access: ['read', 'read', 'read', 'read', 'read_write', 'read_write'],
  variants: [{ WG: 8 }],
});

/** Params that say where keys are; throws DeviceError when shapes don't fit. */
function pageValues(op: string, keys: PagedKeys, count: number) {
  const bits = Math.log2(keys.pageSize);
  if (!Number.isInteger(bits))
    throw new DeviceError(`${op}: page size ${keys.pageSize} is not a power of two`);
  const table = keys.pageTable.shape;
  if (table.length !== 2)
    throw new DeviceError(`${op}: pageTable [${table.join(', ')}] is not [lines, pages]`);
  if (count > 0)
    expectSize(op, 'rows', keys.rows, (count - 1) * keys.rowStride + keys.rowOffset + 2);
  return {
    row_stride: keys.rowStride,
    row_offset: keys.rowOffset,
    table_stride: table[1]!,
    page_bits: bits,
  };
}

/** The form that attention takes for these heads: the order of sums differs between the two. */
function usesWorkgroups(r: Recorder, a: PagedAttentionArgs): boolean {
  const { d4, group } = headValues('pagedAttention', a);
  return !r.isCpu && manyQueries(r, d4, group) !== undefined;
}

/** out = softmax(scale·q·kᵀ)·v over the keys of each query's sequence. */
export function pagedAttention(
  r: Recorder,
  a: PagedAttentionArgs,
  form: 'workgroups' | 'invocations' = usesWorkgroups(r, a) ? 'workgroups' : 'invocations',
): void {
  const columns = a.nKvHeads * a.headDim;
  const { keys } = a;
  const pages = pageValues('pagedAttention', keys, a.tQ);
  expectSize('pagedAttention', 'out', a.out, a.tQ * a.nHeads * a.headDim);
  const q = inVec4('q', a.q);
  const params = {
    ...headValues('pagedAttention', a),
    q_offset: q.offset,
    q_stride: q.stride,
    k_offset: 0,
    k_stride: columns / 4,
    v_offset: 0,
    v_stride: columns / 4,
    ...pages,
    window: a.window ?? 0xffffffff,
  };
  if (a.tQ === 0) return;
  const lse = r.alloc([a.tQ, a.nHeads]);
  const tensors = [a.q.tensor, keys.kPool, keys.vPool, keys.rows, a.out, lse, keys.pageTable];
  if (form === 'workgroups') {
    const tiles = oneQuery(params.d4, params.group);
    r.run(workgroup, tiles, tensors, params, grid1d(a.tQ * a.nKvHeads));
    r.free(lse);
    return;
  }
  const wg = attentionWorkgroup(r);
  // As in attention: four queries of a sequence share the loads of a key.
  const shared = a.tQ * a.nHeads > 1024;
  const items = (shared ? Math.ceil(a.tQ / 4) : a.tQ) * a.nHeads;
  r.run(shared ? four : one, wg, tensors, params, grid1d(Math.ceil(items / wg.WG)));
  r.free(lse);
}

/** The pools' rows of the last key of each of `count` rows = k, v. */
export function writePages(r: Recorder, a: Parameters<Ops['writePages']>[0]): void {
  const { keys, k, v, count } = a;
  const pages = pageValues('writePages', keys, count);
  const columns = keys.kPool.shape.at(-1)!;
  if (keys.vPool.size !== keys.kPool.size)
    throw new DeviceError(
      `writePages: kPool [${keys.kPool.shape.join(', ')}] and vPool [${keys.vPool.shape.join(', ')}] differ`,
    );
  if (count === 0) return;
  const params = {
    count,
    columns,
    limit: keys.kPool.size / columns,
    k_offset: k.offset,
    k_stride: k.stride,
    v_offset: v.offset,
    v_stride: v.stride,
    ...pages,
  };
  r.run(
    write,
    { WG: r.isCpu ? 8 : 64 },
    [k.tensor, v.tensor, keys.rows, keys.pageTable, keys.kPool, keys.vPool],
    params,
    grid1d(count),
  );
}
