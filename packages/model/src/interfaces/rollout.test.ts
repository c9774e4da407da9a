import { SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { allKept, encodeKept, joinKept, keptCount, keptOffsets } from '../generation/kept-sets.js';
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

describe('rollout', () => {
  it('puts prompt and answer together, log-probs of prompts 0', () => {
    const s = rollout(prompts, out, { logitsMask: false });
    expect(s.ids).toEqual(['a', 'b']);
    expect(s.lengths('packed_input_ids')).toEqual([3, 3]);
    expect([...s.i32('packed_input_ids')]).toEqual([11, 12, 13, 21, 22, 23]);
    expect([...s.u8('prompt_mask')]).toEqual([1, 1, 0, 1, 0, 0]);
    expect(s.lengths('packed_logprobs')).toEqual([2, 2]);
    expect([...s.f32('packed_logprobs')]).toEqual([0, -0.5, -1, -2]);
    expect([...s.u8('seq_no_eos_mask')]).toEqual([0, 1]);
    expect([...s.keys]).not.toContain('packed_logits_mask');
  });

  it('puts the kept set of a draw on the record of the token before it, all elsewhere', () => {
    const set = (...words: number[]) => encodeKept(words, 40);
    const masks = [set(1, 2), joinKept([set(3, 4), set(5, 6)])];
    const s = rollout(prompts, { ...out, masks }, { logitsMask: true });
    const bytes = s.u8('packed_logits_mask');
    expect(s.lengths('packed_logits_mask')).toEqual([2 + masks[0]!.length, 1 + masks[1]!.length]);
    const offsets = keptOffsets(bytes, 6, 40);
    const counts = Array.from({ length: 6 }, (_, t) => keptCount(bytes, offsets[t]!, 40));
    expect(counts).toEqual([40, 2, 40, 3, 4, 40]);
    expect([...s.slice(1, 2).u8('packed_logits_mask')]).toEqual([...masks[1]!, ...allKept]);
  });

  it('defect 12: a rollout where nothing was filtered keeps every token', () => {
    const s = rollout(prompts, out, { logitsMask: true });
    expect([...s.u8('packed_logits_mask')]).toEqual(Array(6).fill(0));
  });
});
