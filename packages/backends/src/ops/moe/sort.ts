/** Copies sorted by expert, those above a capacity dropped: a stable counting sort on the device, no readback. */
import { DeviceError, type MoeSortArgs, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { copy } from '../elementwise/elementwise.js';
import dropSource from './drop.wgsl';
import sortSource from './sort.wgsl';

const constants = { WG: 64, BLOCK: 128 };
const sortKernel = (entry: string) =>
  defineKernel({
    name: `moe_sort_${entry}`,
    source: sortSource,
    entry,
    params: { copies: 'u32', n: 'u32', blocks: 'u32', per_token: 'u32' },
    access: ['read', 'read_write', 'read_write', 'read_write', 'read_write', 'read_write'],
    variants: [constants],
  });
const [countKernel, scanKernel, beginKernel, placeKernel] = [
  sortKernel('count'),
  sortKernel('scan'),
  sortKernel('begin'),
  sortKernel('place'),
];
const policies = { position: 0, probs: 1 } as const;
const dropKernel = defineKernel({
  name: 'moe_drop',
  source: dropSource,
  entry: 'main',
  params: { copies: 'u32', n: 'u32', capacity: 'u32' },
  access: ['read', 'read', 'read', 'read', 'read', 'read_write'],
  variants: [
    { WG: 64, POLICY: 0 },
    { WG: 64, POLICY: 1 },
  ],
});

export function moeSort(r: Recorder, a: MoeSortArgs): void {
  const { experts, nExperts, capacity } = a;
  const [rows = 0, topK = 1] = experts.shape;
  const copies = rows * topK;
  const probs = a.probs ?? (capacity?.policy === 'probs' ? undefined : experts);
  if (
    experts.shape.length !== 2 ||
    a.rowOf.size !== copies ||
    a.tokenOf.size !== copies ||
    a.offsets.size !== nExperts + 1 ||
    a.counts.size !== nExperts ||
    probs?.size !== copies
  )
    throw new DeviceError(
      `moeSort of [${experts.shape.join(', ')}] over ${nExperts} experts: need rowOf and tokenOf (and probs to drop by) of ${copies}, offsets of ${nExperts + 1}, counts of ${nExperts}`,
    );
  if (!capacity) {
    sort(r, experts, a, topK);
    return;
  }
  // Sorted once to know who is above the capacity (tokenOf holds copies meanwhile), then again without them.
  sort(r, experts, a, 1);
  const kept = r.alloc([rows, topK], 'u32');
  r.run(
    dropKernel,
    { WG: 64, POLICY: policies[capacity.policy] },
    [experts, probs, a.offsets, a.rowOf, a.tokenOf, kept],
    { copies, n: nExperts, capacity: capacity.copies },
    grid1d(Math.ceil(copies / 64)),
  );
  const counts = r.alloc([nExperts], 'u32');
  sort(r, kept, { ...a, counts }, topK);
  r.free(counts);
  r.free(kept);
}

type Sorted = Pick<MoeSortArgs, 'rowOf' | 'tokenOf' | 'offsets' | 'counts'>;

function sort(r: Recorder, experts: Tensor, out: Sorted, perToken: number): void {
  const n = out.counts.size;
  const copies = experts.size;
  const blocks = Math.ceil(copies / constants.BLOCK);
  const histogram = r.alloc([Math.max(1, blocks), n + 1], 'u32');
  const totals = r.alloc([n + 1], 'u32');
  const tensors = [experts, histogram, totals, out.offsets, out.rowOf, out.tokenOf];
  const params = { copies, n, blocks, per_token: perToken };
  const pairs = grid1d(Math.ceil((blocks * (n + 1)) / constants.WG));
  r.run(countKernel, constants, tensors, params, pairs);
  r.run(scanKernel, constants, tensors, params, grid1d(Math.ceil((n + 1) / constants.WG)));
  r.run(beginKernel, constants, tensors, params, [1, 1, 1]);
  r.run(placeKernel, constants, tensors, params, pairs);
  copy(r, totals, out.counts, n);
  r.free(totals);
  r.free(histogram);
}
