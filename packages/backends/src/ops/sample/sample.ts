/**
 * Sampling with top-k, top-p, temperature and a forbidden EOS. The kept set is what both warpers keep of the unfiltered
 * distribution, ties alike. The log-prob is of the warped, renormalised distribution, bit-equal to logProbs with the
 * mask that is logged. Greedy takes the lowest index among the largest logits, ignores temperature, top-k and top-p,
 * and its log-prob is of the plain softmax (without a forbidden EOS).
 * Finished rows give PAD, log-prob 0, a mask with every valid token, and keep their state.
 */
import {
  DeviceError,
  sampleOptionWords,
  type SampleArgs,
  type SampleRowsArgs,
  type Tensor,
} from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { rowForm, rowsAndVocab, rowWorkgroup } from '../logprobs/logprobs.js';
import groupSoftmaxSource from '../logprobs/row-softmax-workgroup.wgsl';
import rowSoftmaxSource from '../logprobs/row-softmax.wgsl';
import commonSource from './sample-common.wgsl';
import groupSource from './sample-workgroup.wgsl';
import rowSource from './sample.wgsl';

const byRow = defineKernel({
  name: 'sample',
  source: rowSoftmaxSource + commonSource + rowSource,
  entry: 'main',
  params: {
    rows: 'u32',
    vocab: 'u32',
    valid: 'u32',
    inv_t: 'f32',
    per_row: 'u32',
    flags: 'u32',
    top_p: 'f32',
    top_k: 'f32',
    eos: 'i32',
    pad: 'i32',
    min_new: 'u32',
    log_step: 'u32',
    mask_words: 'u32',
  },
  access: [
    'read_write',
    'read',
    'read_write',
    'read_write',
    'read_write',
    'read_write',
    'read_write',
  ],
  variants: [{ WG: 8 }],
});
const byWorkgroup = defineKernel({
  ...byRow,
  name: 'sample_workgroup',
  source: groupSoftmaxSource + commonSource + groupSource,
  variants: [{ WG: 512 }],
});

/** Options that all rows share; without effect where rows have their own. */
const ownOptions = { inv_t: 1, per_row: 1, flags: 0, top_p: 1, top_k: 1, eos: -1, min_new: 0 };

/** Samples tokens [rows] from logits [rows, vocab], advances state, writes line logStep of the logs. */
export function sample(r: Recorder, a: SampleArgs, form = rowForm(r)): void {
  const { vocab } = rowsAndVocab('sample', a.logits);
  const valid = a.validVocab ?? vocab;
  if (valid === 1 && a.eosTokenId === 0 && a.minNewTokens > 0)
    throw new DeviceError(`sample: validVocab ${valid} of ${vocab} columns leaves no token`);
  if (!a.greedy && !(a.temperature > 0 && a.topP > 0 && a.topP <= 1 && a.topK >= 1))
    throw new DeviceError(
      `sample: temperature ${a.temperature}, topP ${a.topP} or topK ${a.topK} is out of range`,
    );
  const filter = !a.greedy && (a.topP < 1 || a.topK < valid);
  const options = {
    inv_t: a.greedy ? 1 : 1 / a.temperature,
    per_row: 0,
    flags: (a.greedy ? 1 : 0) + (filter ? 2 : 0),
    top_p: a.topP,
    top_k: a.topK,
    eos: a.eosTokenId,
    min_new: a.minNewTokens,
  };
  run(r, a, a.seeds, 1, options, form);
}

/** The same with options of each row. */
export function sampleRows(r: Recorder, a: SampleRowsArgs, form = rowForm(r)): void {
  run(r, a, a.options, sampleOptionWords, ownOptions, form);
}

function run(
  r: Recorder,
  a: Omit<SampleRowsArgs, 'options'>,
  perRow: Tensor,
  width: number,
  options: typeof ownOptions,
  form: 'row' | 'workgroup',
): void {
  const { rows, vocab } = rowsAndVocab('sample', a.logits);
  const valid = a.validVocab ?? vocab;
  const words = a.maskLog ? Math.ceil(vocab / 32) : 0;
  if (valid < 1 || valid > vocab)
    throw new DeviceError(`sample: validVocab ${valid} of ${vocab} columns leaves no token`);
  const lines = rows * (a.logStep + 1);
  if (
    perRow.size < width * rows ||
    a.state.size < 5 * rows ||
    a.tokens.size < rows ||
    a.tokenLog.size < lines ||
    a.logProbLog.size < lines ||
    (a.maskLog && a.maskLog.size < lines * words)
  )
    throw new DeviceError(
      `sample of ${rows} rows into line ${a.logStep}: seeds or options, state, tokens or a log is too small`,
    );
  if (rows === 0) return;
  const wg = rowWorkgroup(r, form);
  const mask = a.maskLog ?? r.alloc([1], 'u32');
  r.run(
    form === 'row' ? byRow : byWorkgroup,
    wg,
    [a.logits, perRow, a.state, a.tokens, a.tokenLog, a.logProbLog, mask],
    {
      rows,
      vocab,
      valid,
      ...options,
      pad: a.padTokenId,
      log_step: a.logStep,
      mask_words: words,
    },
    grid1d(form === 'row' ? Math.ceil(rows / wg.WG) : rows),
  );
  if (!a.maskLog) r.free(mask);
}
