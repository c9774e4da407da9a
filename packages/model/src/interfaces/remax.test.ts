import { DataError, NumericError, SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { compute, expectClose } from '../losses/test-losses.js';
import { packRollout, randomRollout } from '../ppo/test-rollouts.js';
import { prepareRemax } from '../remax/prepare.js';
import { RemaxInterface } from './remax.js';
import { modelWith, ScriptedTrainEngine } from './test-engine.js';

const prompts = { ids: ['a', 'b'], seqlens: [2, 1] };
const tokens = Int32Array.of(3, 4, 5);
const engine = () =>
  new ScriptedTrainEngine({
    generate: () => ({
      tokens: [Int32Array.of(7), Int32Array.of(8, 9)],
      logProbs: [Float32Array.of(-1), Float32Array.of(-2, -3)],
      noEos: [false, true],
    }),
    stats: () => ({ loss: 1 }),
  });

const seqs = randomRollout(6, 3);
const rolled = (greedy: readonly number[]) =>
  packRollout(seqs, { greedy_rewards: Float32Array.from(greedy) });
const o = { discount: 0.5, adv_norm: false, mask_truncated_completions: false };

describe('remax', () => {
  it('answers prompts by sampling, and greedy_prompts greedily', async () => {
    const e = engine();
    const held = new RemaxInterface({ gen: { temperature: 0.7 } });
    const sampled = SequenceSample.fromDefault({ ...prompts, data: { packed_prompts: tokens } });
    const greedy = sampled.remapKeys({ packed_prompts: 'greedy_prompts' });
    const one = await held.generate(modelWith(e), sampled, {});
    const two = await held.generate(modelWith(e), greedy, { nMbs: 2 });
    expect(e.calls.map((c) => c.options.gconfig)).toMatchObject([
      { greedy: false, temperature: 0.7 },
      { greedy: true },
    ]);
    expect(e.calls[1]!.options.nMbs).toBe(2);
    expect([...e.calls[1]!.input.i32('packed_prompts')]).toEqual([...tokens]);
    expect([...two.i32('packed_input_ids')]).toEqual([3, 4, 7, 5, 8, 9]);
    expect(one.keys.has('packed_logits_mask')).toBe(true);
    expect(two.keys.has('packed_logits_mask')).toBe(false);
  });

  it('spreads the difference of the rewards, discounted to the end of the answer', () => {
    const { sample, stats } = prepareRemax(rolled([1, 2, 3, 4, 5, 6]), o);
    const want = seqs.flatMap((s, i) => {
      const last = s.old.length - 1;
      return s.old.map((_, j) => (j < s.prompt - 1 ? 0 : (s.score - (i + 1)) * 0.5 ** (last - j)));
    });
    expectClose(sample.f32('advantages'), want);
    expect(stats.greedy_reward).toBe(3.5);
  });

  it('trains by −Σ A log π over the tokens of the batch, at the temperature of generation', async () => {
    const e = engine();
    const held = new RemaxInterface({ gen: { temperature: 0.7 }, adv_norm: false });
    const input = rolled([0, 0, 0, 0, 0, 0]);
    const stats = await held.trainStep(modelWith(e), input, {});
    expect(stats).toMatchObject({ loss: 1, greedy_reward: 0 });
    const { loss, input: batch } = e.calls[0]!;
    expect(loss).toMatchObject({ name: 'remax', temperature: 0.7 });
    const logProbs = seqs.map((s) => [...s.old]);
    const out = compute(loss!, batch, { logProbs, entropy: logProbs });
    const n = batch.u8('ppo_loss_mask').reduce((a, b) => a + b, 0);
    const sum = logProbs.flat().reduce((a, p, j) => a + batch.f32('advantages')[j]! * p, 0);
    expectClose([out.loss], [-sum / n]);
    expectClose(
      out.dLogProbs!,
      [...batch.f32('advantages')].map((a) => -a / n),
    );
  });

  it('names what it cannot use', () => {
    expect(() => prepareRemax(rolled([1, 2, NaN, 4, 5, 6]), o)).toThrow(NumericError);
    expect(() => prepareRemax(rolled([1, 2, NaN, 4, 5, 6]), o)).toThrow(
      /'greedy_rewards' of id 's2' is NaN/,
    );
    const absent = packRollout(seqs).remapKeys({ values: 'greedy_rewards' });
    expect(() => prepareRemax(absent, o)).toThrow(DataError);
  });
});
