import { NumericError, SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { bestOfGroups } from '../raft/best.js';
import { RaftInterface } from './raft.js';
import { modelWith, ScriptedTrainEngine } from './test-engine.js';

const prompts = SequenceSample.fromDefault({
  ids: ['a', 'b'],
  seqlens: [2, 1],
  data: { packed_prompts: Int32Array.of(3, 4, 5) },
});
/** Answers of 1, 2, 3, 4 tokens. */
const engine = () =>
  new ScriptedTrainEngine({
    generate: () => ({
      tokens: [1, 2, 3, 4].map((n) => new Int32Array(n).fill(10 * n)),
      logProbs: [1, 2, 3, 4].map((n) => new Float32Array(n).fill(-n)),
      noEos: [false, true, false, true],
    }),
    stats: () => ({ loss: 1 }),
  });
const withRewards = (sample: SequenceSample, rewards: readonly number[]) => {
  sample.update(
    new SequenceSample({
      ids: sample.ids,
      seqlens: { rewards: sample.ids.map(() => [1, 1]) },
      data: { rewards: Float32Array.from(rewards) },
      dtypes: { rewards: 'f32' },
      trailingShapes: { rewards: [] },
    }),
  );
  return sample;
};

describe('raft', () => {
  it('trains on the best answer to each prompt, as sft does', async () => {
    const e = engine();
    const held = new RaftInterface({ group_size: 2 });
    const out = await held.generate(modelWith(e), prompts, {});
    const stats = await held.trainStep(modelWith(e), withRewards(out, [1, 2, 4, 3]), {});
    const { input, loss } = e.calls[1]!;
    expect(loss!.name).toBe('sft');
    expect(input.ids).toEqual(['a', 'b']);
    expect(input.seqlens.packed_input_ids).toEqual([[4], [4]]);
    expect([...input.i32('packed_input_ids')]).toEqual([3, 4, 20, 20, 5, 30, 30, 30]);
    expect([...input.u8('prompt_mask')]).toEqual([1, 1, 0, 0, 1, 0, 0, 0]);
    expect(loss!.weight(input)).toBe(5);
    expect(stats).toMatchObject({ loss: 1, task_reward: 2.5, best_reward: 3, n_seqs: 4 });
  });
  it('of equal scores takes the first; names a score that is not finite', async () => {
    const held = new RaftInterface({ group_size: 2 });
    const out = await held.generate(modelWith(engine()), prompts, {});
    const best = bestOfGroups(withRewards(out, [1, 1, 0, 0]));
    expect(best.sample.seqlens.packed_input_ids).toEqual([[3], [4]]);
    expect(() => bestOfGroups(withRewards(out, [1, 1, 0, NaN]))).toThrow(NumericError);
    expect(() => bestOfGroups(withRewards(out, [1, 1, 0, NaN]))).toThrow(/id 'b'/);
  });
});
