/**
 * Log-probabilities of labels under a tempered, masked softmax, and the gradient. The forward never writes a
 * [rows, vocab] tensor. A removed label has log-prob −3.4e38; a negative one 0, but its row's gradient still has the
 * −dLp·p part (a vocabulary shard that does not own the label needs it), so give dLogProbs 0 where there is no label.
 */
import {
  DeviceError,
  type LogProbArgs,
  type LogProbBackwardArgs,
  type LogProbForwardArgs,
} from '@realhf/api';

import { deviceTensor } from '../../webgpu/device-tensor.js';
import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import backwardQuadsSource from './logprobs-backward-quads.wgsl';
import backwardRowSource from './logprobs-backward-row.wgsl';
import backwardSource from './logprobs-backward.wgsl';
import groupSource from './logprobs-workgroup.wgsl';
import rowSource from './logprobs.wgsl';
import groupSoftmaxSource from './row-softmax-workgroup.wgsl';
import rowSoftmaxSource from './row-softmax.wgsl';

const params = {
  rows: 'u32',
  vocab: 'u32',
  valid: 'u32',
  inv_t: 'f32',
  mask_stride: 'u32',
  has_entropy: 'u32',
  first_row: 'u32',
} as const;

const byRow = defineKernel({
  name: 'log_probs',
  source: rowSoftmaxSource + rowSource,
  entry: 'main',
  params,
  access: ['read', 'read', 'read', 'read_write', 'read_write', 'read_write'],
  variants: [{ WG: 8 }],
});
const byWorkgroup = defineKernel({
  ...byRow,
  name: 'log_probs_workgroup',
  source: groupSoftmaxSource + groupSource,
  variants: [{ WG: 512 }],
});
const backward = defineKernel({
  name: 'log_probs_backward',
  source: backwardRowSource + backwardSource,
  entry: 'main',
  params,
  access: ['read_write', 'read', 'read', 'read', 'read', 'read', 'read', 'read'],
  variants: [{ WG: 8, SPAN: 1024 }],
});
const backwardInPlace = defineKernel({
  name: 'log_probs_backward_in_place',
  source: backwardRowSource + backwardSource,
  entry: 'in_place',
  params,
  access: ['read_write', 'read', 'read', 'read', 'read', 'read', 'read'],
  variants: [{ WG: 8, SPAN: 1024 }],
});

const backwardQuads = defineKernel({
  ...backward,
  name: 'log_probs_backward_quads',
  source: backwardRowSource + backwardQuadsSource,
});
const backwardQuadsInPlace = defineKernel({
  ...backwardInPlace,
  name: 'log_probs_backward_quads_in_place',
  source: backwardRowSource + backwardQuadsSource,
});

/** Who does a row: one invocation (software adapters) or a workgroup (GPUs). Sums differ in order between the two. */
export type RowForm = 'row' | 'workgroup';
export const rowForm = (r: Recorder): RowForm => (r.isCpu ? 'row' : 'workgroup');

/** Lanes: a workgroup of rows, or of columns of one row (a power of two; few where barriers are slow). */
export function rowWorkgroup(r: Recorder, form: RowForm): { WG: number } {
  if (form === 'row') return { WG: 8 };
  return { WG: r.isCpu ? 32 : Math.min(512, r.device.limits.maxComputeInvocationsPerWorkgroup) };
}

/** Rows and columns of logits [rows, vocab]. */
export function rowsAndVocab(op: string, logits: { readonly shape: readonly number[] }) {
  const [rows, vocab] = logits.shape;
  if (logits.shape.length !== 2 || rows === undefined || vocab === undefined)
    throw new DeviceError(`${op}: logits [${logits.shape.join(', ')}] is not [rows, vocab]`);
  return { rows, vocab };
}

function values(op: string, a: LogProbArgs) {
  const { rows, vocab } = rowsAndVocab(op, a.logits);
  const valid = a.validVocab ?? vocab;
  const words = Math.ceil(vocab / 32);
  if (!(a.temperature > 0))
    throw new DeviceError(`${op}: temperature ${a.temperature} is not above 0`);
  if (valid < 1 || valid > vocab || a.labels.size < rows)
    throw new DeviceError(
      `${op}: logits [${rows}, ${vocab}], validVocab ${valid} and ${a.labels.size} labels don't fit`,
    );
  if (a.mask && a.mask.size < rows * words)
    throw new DeviceError(
      `${op}: mask [${a.mask.shape.join(', ')}] is not [${rows}, ${words}] words`,
    );
  return {
    rows,
    vocab,
    valid,
    inv_t: 1 / a.temperature,
    mask_stride: a.mask ? words : 0,
    has_entropy: 0,
    first_row: 0,
  };
}

/** logProbs, lse and entropy [rows] of logits [rows, vocab]. */
export function logProbs(r: Recorder, a: LogProbForwardArgs, form = rowForm(r)): void {
  const v = values('logProbs', a);
  if (v.rows === 0) return;
  const wg = rowWorkgroup(r, form);
  const entropy = a.entropy ?? r.alloc([v.rows]);
  r.run(
    form === 'row' ? byRow : byWorkgroup,
    wg,
    [a.logits, a.labels, a.mask ?? a.labels, a.logProbs, a.lse, entropy],
    v,
    grid1d(form === 'row' ? Math.ceil(v.rows / wg.WG) : v.rows),
  );
  if (!a.entropy) r.free(entropy);
}

/** dLogits [rows, vocab] overwritten; it may be logits itself. */
export function logProbsBackward(r: Recorder, a: LogProbBackwardArgs): void {
  const v = values('logProbsBackward', a);
  if (a.dLogits.size !== v.rows * v.vocab)
    throw new DeviceError(
      `logProbsBackward: dLogits [${a.dLogits.shape.join(', ')}] is not [${v.rows}, ${v.vocab}]`,
    );
  if (a.dEntropy && !a.entropy)
    throw new DeviceError('logProbsBackward: dEntropy is given without the entropy of forward');
  if (v.rows === 0) return;
  v.has_entropy = a.dEntropy ? 1 : 0;
  const wg = { WG: r.isCpu ? 8 : 64, SPAN: 1024 };
  const [logits, out] = [deviceTensor(a.logits), deviceTensor(a.dLogits)];
  const inputs = [
    a.dLogits,
    a.labels,
    a.mask ?? a.labels,
    a.lse,
    a.dLogProbs,
    a.dEntropy ?? a.dLogProbs,
    a.entropy ?? a.dLogProbs,
  ];
  const inPlace = logits.buffer === out.buffer && logits.byteOffset === out.byteOffset;
  const tensors = inPlace ? inputs : [...inputs, a.logits];
  // A last quad that the tensor has not whole can't be bound: its row goes number by number.
  const byQuads = (v.rows * v.vocab) % 4 === 0 ? v.rows : v.rows - 1;
  if (byQuads > 0) {
    const grid = grid1d(byQuads * (Math.floor((v.vocab + 6) / wg.SPAN) + 1));
    const kernel = inPlace ? backwardQuadsInPlace : backwardQuads;
    r.run(kernel, wg, tensors, { ...v, rows: byQuads }, grid);
  }
  if (byQuads < v.rows) {
    const grid = grid1d(Math.ceil(v.vocab / wg.SPAN));
    r.run(inPlace ? backwardInPlace : backward, wg, tensors, { ...v, first_row: byQuads }, grid);
  }
}
