/**
 * Sampling with top-k, top-p, temperature and a forbidden EOS. The kept set is what both warpers keep of the unfiltered
 * distribution, ties alike. The log-prob is of the warped, renormalised distribution, bit-equal to logProbs with the
 * mask that is logged. Greedy takes the lowest index among the largest logits, ignores temperature, top-k and top-p,
 * and its log-prob is of the plain softmax (without a forbidden EOS).
 * Finished rows give PAD, log-prob 0, a mask with every valid token, and keep their state.
 */
import { DeviceError, type SampleArgs } from '@realhf/api';

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
    greedy: 'u32',
    filter_tokens: 'u32',
    top_p: 'f32',
    top_k: 'f32',
    eos: 'i32',
    pad: 'i32',
    min_new: 'u32',
    log_step: 'u32',
    mask_words: 'u32',
  },
  access: ['read', 'read', 'read_write', 'read_write', 'read_write', 'read_write', 'read_write'],
  variants: [{ WG: 8 }],
});
const byWorkgroup = defineKernel({
  ...byRow,
  name: 'sample_workgroup',
  source: groupSoftmaxSource + commonSource + groupSource,
  variants: [{ WG: 512 }],
});

/** Samples tokens [rows] from logits [rows, vocab], advances state, writes line logStep of the logs. */
export function sample(r: Recorder, a: SampleArgs, form = rowForm(r)): void {
  const { rows, vocab } = rowsAndVocab('sample', a.logits);
  const valid = a.validVocab ?? vocab;
  const words = a.maskLog ? Math.ceil(vocab / 32) : 0;
  if (valid < 1 || valid > vocab || (valid === 1 && a.eosTokenId === 0 && a.minNewTokens > 0))
    throw new DeviceError(`sample: validVocab ${valid} of ${vocab} columns leaves no token`);
  if (!a.greedy && !(a.temperature > 0 && a.topP > 0 && a.topP <= 1 && a.topK >= 1))
    throw new DeviceError(
      `sample: temperature ${a.temperature}, topP ${a.topP} or topK ${a.topK} is out of range`,
    );
  const lines = rows * (a.logStep + 1);
  if (
    a.seeds.size < rows ||
    a.state.size < 5 * rows ||
    a.tokens.size < rows ||
    a.tokenLog.size < lines ||
    a.logProbLog.size < lines ||
    (a.maskLog && a.maskLog.size < lines * words)
  )
    throw new DeviceError(
      `sample of ${rows} rows into line ${a.logStep}: seeds, state, tokens or a log is too small`,
    );
  if (rows === 0) return;
  const wg = rowWorkgroup(r, form);
  const mask = a.maskLog ?? r.alloc([1], 'u32');
  r.run(
    form === 'row' ? byRow : byWorkgroup,
    wg,
    [a.logits, a.seeds, a.state, a.tokens, a.tokenLog, a.logProbLog, mask],
    {
      rows,
      vocab,
      valid,
      inv_t: a.greedy ? 1 : 1 / a.temperature,
      greedy: a.greedy ? 1 : 0,
      filter_tokens: !a.greedy && (a.topP < 1 || a.topK < valid) ? 1 : 0,
      top_p: a.topP,
      top_k: a.topK,
      eos: a.eosTokenId,
      pad: a.padTokenId,
      min_new: a.minNewTokens,
      log_step: a.logStep,
      mask_words: words,
    },
    grid1d(form === 'row' ? Math.ceil(rows / wg.WG) : rows),
  );
  if (!a.maskLog) r.free(mask);
}
