import { SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { GrpoInterface } from './grpo.js';
import { modelWith, ScriptedEngine, ScriptedTrainEngine } from './test-engine.js';

const prompts = SequenceSample.fromDefault({
  ids: ['a', 'b'],
  seqlens: [2, 1],
  data: { packed_prompts: Int32Array.of(3, 4, 5) },
});
/** Answers of 1, 2, 3, 4 tokens to the four sequences, in order. */
const engine = () =>
  new ScriptedTrainEngine({
    generate: () => ({
      tokens: [1, 2, 3, 4].map((n) => new Int32Array(n).fill(10 * n)),
      logProbs: [1, 2, 3, 4].map((n) => new Float32Array(n).fill(-n)),
      noEos: [false, true, false, true],
    }),
    logProbs: (s) => new Float32Array(s.i32('packed_input_ids').length - 4).fill(-1),
    stats: () => ({ loss: 1 }),
  });
const options = { group_size: 2, gen: { temperature: 0.7 }, logits_mask: false };

describe('grpo', () => {
  it('defect 8: answers stand behind their own prompt, as sequences of its item', async () => {
    const e = engine();
    const out = await new GrpoInterface(options).generate(modelWith(e), prompts, { nMbs: 2 });
    const asked = e.calls[0]!.input;
    expect([...asked.i32('packed_prompts')]).toEqual([3, 4, 3, 4, 5, 5]);
    expect(e.calls[0]!.options.nMbs).toBe(2);
    expect(out.ids).toEqual(['a', 'b']);
    expect(out.seqlens.packed_input_ids).toEqual([
      [3, 4],
      [4, 5],
    ]);
    expect([...out.slice(0, 1).i32('packed_input_ids')]).toEqual([3, 4, 10, 3, 4, 20, 20]);
    expect([...out.slice(1, 2).i32('packed_input_ids')]).toEqual([
      ...[5, 30, 30, 30],
      ...[5, 40, 40, 40, 40],
    ]);
    expect([...out.slice(1, 2).f32('packed_logprobs')]).toEqual([-3, -3, -3, -4, -4, -4, -4]);
    expect(out.seqlens.seq_no_eos_mask).toEqual([
      [1, 1],
      [1, 1],
    ]);
  });
  it('defect 10: reference and ratio at the temperature of generation; one step per minibatch', async () => {
    const e = engine();
    const held = new GrpoInterface({ ...options, ppo_n_minibatches: 2 });
    const out = await held.generate(modelWith(e), prompts, {});
    const ref = await held.inference(modelWith(e), out, {});
    expect(e.calls[1]!.options.temperature).toBe(0.7);
    expect(ref.seqlens.packed_ref_logprobs).toEqual([
      [2, 3],
      [3, 4],
    ]);
    out.update(ref);
    out.update(
      new SequenceSample({
        ids: out.ids,
        seqlens: {
          rewards: [
            [1, 1],
            [1, 1],
          ],
        },
        data: { rewards: Float32Array.of(1, 2, 3, 4) },
        dtypes: { rewards: 'f32' },
        trailingShapes: { rewards: [] },
      }),
    );
    const stats = await held.trainStep(modelWith(e), out, {});
    const steps = e.calls.filter((c) => c.method === 'trainBatch');
    expect(steps.map((c) => c.input.ids)).toEqual([['a'], ['b']]);
    expect(steps[0]!.loss).toMatchObject({ name: 'grpo', temperature: 0.7 });
    expect(stats).toMatchObject({ loss: 1, task_reward: 2.5, n_seqs: 4 });
  });
  it('an inference engine cannot train; a group of one is refused', async () => {
    expect(() => new GrpoInterface({ group_size: 1 })).toThrow();
    const held = new GrpoInterface(options);
    await expect(
      (async () => held.trainStep(modelWith(new ScriptedEngine()), prompts, {}))(),
    ).rejects.toThrow();
  });
});
