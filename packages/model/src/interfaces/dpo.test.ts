import { NumericError, SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { DpoInterface } from './dpo.js';
import { modelWith, ScriptedEngine, ScriptedTrainEngine } from './test-engine.js';

/** Two items: one pair after one prompt token, two pairs after two. */
const pairs = new SequenceSample({
  ids: ['x', 'y'],
  seqlens: {
    packed_input_ids: [
      [2, 3],
      [3, 2, 4, 3],
    ],
    prompt_lens: [[1], [1]],
  },
  data: { packed_input_ids: new Int32Array(17), prompt_lens: Int32Array.of(1, 2) },
  dtypes: { packed_input_ids: 'i32', prompt_lens: 'i32' },
  trailingShapes: { packed_input_ids: [], prompt_lens: [] },
});

describe('dpo', () => {
  it('inference sums the answers of every sequence', async () => {
    const engine = new ScriptedEngine({
      logProbs: () => Float32Array.from({ length: 11 }, (_, i) => i),
    });
    const out = await new DpoInterface().inference(modelWith(engine), pairs, { nMbs: 2 });
    expect(out.ids).toEqual(pairs.ids);
    expect(out.seqlens.seqlogp).toEqual([
      [1, 1],
      [1, 1, 1, 1],
    ]);
    expect([...out.f32('seqlogp')]).toEqual([0, 1 + 2, 4, 0, 7 + 8, 10]);
    const { options } = engine.calls[0]!;
    expect(options.nMbs).toBe(2);
    expect([...(options.needed as (s: SequenceSample) => Uint8Array)(pairs.slice(1, 2))]).toEqual([
      0, 1, 0, 0, 1, 1, 0, 1,
    ]);
  });
  it('names the item of a sum that is not finite', async () => {
    const engine = new ScriptedEngine({ logProbs: () => new Float32Array(11).fill(NaN, 7, 8) });
    const run = new DpoInterface().inference(modelWith(engine), pairs, {});
    await expect(run).rejects.toThrow(NumericError);
    await expect(run).rejects.toThrow(/'seqlogp' of id 'y' is NaN/);
  });
  it('a train step is one optimizer step', async () => {
    const engine = new ScriptedTrainEngine({ stats: () => ({ loss: 1 }) });
    const stats = await new DpoInterface({ beta: 0.2 }).trainStep(modelWith(engine, 3), pairs, {});
    expect(stats).toEqual({ loss: 1 });
    expect(engine.calls).toHaveLength(1);
    expect(engine.calls[0]).toMatchObject({ loss: { name: 'dpo' }, options: { versionSteps: 3 } });
    expect(engine.calls[0]!.loss!.weight(pairs)).toBe(3);
    // P17: without dropout.
    expect(engine.calls[0]!.options).not.toHaveProperty('noiseSeed');
  });
  it('refuses label smoothing where the loss has none', () => {
    expect(() => new DpoInterface({ loss_type: 'ipo', label_smoothing: 0.1 })).toThrow(
      'label_smoothing belongs to loss_type=sigmoid',
    );
  });
});
