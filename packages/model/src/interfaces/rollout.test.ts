import { SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { rollout } from './rollout.js';

const prompts = SequenceSample.fromDefault({
  ids: ['a', 'b'],
  seqlens: [2, 1],
  data: { packed_prompts: Int32Array.of(11, 12, 21) },
});
const out = {
  tokens: [Int32Array.of(13), Int32Array.of(22, 23)],
  logProbs: [Float32Array.of(-0.5), Float32Array.of(-1, -2)],
  noEos: [false, true],
};
const all = 0xffffffff;

describe('rollout', () => {
  it('puts prompt and answer together, log-probs of prompts 0', () => {
    const s = rollout(prompts, out, { logitsMask: false, vocabSize: 40 });
    expect(s.ids).toEqual(['a', 'b']);
    expect(s.lengths('packed_input_ids')).toEqual([3, 3]);
    expect([...s.i32('packed_input_ids')]).toEqual([11, 12, 13, 21, 22, 23]);
    expect([...s.u8('prompt_mask')]).toEqual([1, 1, 0, 1, 0, 0]);
    expect(s.lengths('packed_logprobs')).toEqual([2, 2]);
    expect([...s.f32('packed_logprobs')]).toEqual([0, -0.5, -1, -2]);
    expect([...s.u8('seq_no_eos_mask')]).toEqual([0, 1]);
    expect([...s.keys]).not.toContain('packed_logits_mask');
  });

  it('puts the mask of a draw on the line of the token before it, ones elsewhere', () => {
    const masks = [Uint32Array.of(1, 2), Uint32Array.of(3, 4, 5, 6)];
    const s = rollout(prompts, { ...out, masks }, { logitsMask: true, vocabSize: 40 });
    expect(s.trailingShapes.packed_logits_mask).toEqual([2]);
    expect([...s.u32('packed_logits_mask')]).toEqual([
      all,
      all,
      1,
      2,
      all,
      all,
      3,
      4,
      5,
      6,
      all,
      all,
    ]);
  });

  it('defect 12: a rollout where nothing was filtered keeps every token', () => {
    const s = rollout(prompts, out, { logitsMask: true, vocabSize: 40 });
    expect([...s.u32('packed_logits_mask')]).toEqual(Array(12).fill(all));
  });

  it('has one line per token where a word holds the vocabulary', () => {
    const masks = [Uint32Array.of(7), Uint32Array.of(8, 9)];
    const s = rollout(prompts, { ...out, masks }, { logitsMask: true, vocabSize: 32 });
    expect([...s.u32('packed_logits_mask')]).toEqual([all, 7, all, 8, 9, all]);
  });
});
