/**
 * Attention over key ranges: the same kernel serves packed causal training, prefill, and decode over a KV cache.
 * A query's result depends on its own row and keys only, in the order of the keys from kvRange's begin, so it is
 * bit-equal whatever else is in the batch. An empty range gives zeros and lse 0. No [tokens, tokens] memory.
 */
import type { AttentionArgs, Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { attentionF16, fitsF16Attention } from './attention-f16.js';
import { manyQueries, oneQuery, type AttentionTiles } from './attention-tiles.js';
import { attentionParams, attentionValues } from './attention-values.js';
import workgroupSource from './attention-workgroup.wgsl';
import forwardSource from './attention.wgsl';
import denseKeys from './dense-keys.wgsl';

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
  source: denseKeys + workgroupSource,
  entry: 'main',
  variants: [oneQuery(16, 8), { ...oneQuery(16, 4), QT: 16, RG: 16, KS: 8, TC: 4, KV: 8, CV: 2 }],
});

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
  if (fitsF16Attention(r, a)) {
    attentionF16(r, a);
    return;
  }
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
