import { interfaces, NumericError, SequenceSample, type ModelInterface } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { packRollout, randomRollout } from '../ppo/test-rollouts.js';
import { PairedRewardInterface } from './paired-rw.js';
import { registerInterfaces } from './register.js';
import { SftInterface } from './sft.js';
import { modelWith, ScriptedEngine, ScriptedTrainEngine } from './test-engine.js';

/** Two items: one pair, two pairs. */
const pairs = new SequenceSample({
  ids: ['x', 'y'],
  seqlens: {
    packed_input_ids: [
      [1, 2],
      [2, 1, 1, 3],
    ],
  },
  data: { packed_input_ids: new Int32Array(10) },
  dtypes: { packed_input_ids: 'i32' },
  trailingShapes: { packed_input_ids: [] },
});

interface Case {
  readonly name: string;
  readonly held: Pick<Required<ModelInterface>, 'trainStep' | 'evaluate'>;
  readonly batches: readonly [SequenceSample, SequenceSample];
}
const cases: readonly Case[] = [
  {
    name: 'sft',
    held: new SftInterface(),
    batches: [packRollout(randomRollout(3, 1)), packRollout(randomRollout(2, 2))],
  },
  { name: 'paired_rw', held: new PairedRewardInterface(), batches: [pairs, pairs.slice(1, 2)] },
];

describe('sft and paired_rw', () => {
  it.each(cases)(
    '$name: one optimizer step; the version is left to who runs the MFC',
    async ({ name, held, batches: [input] }) => {
      const engine = new ScriptedTrainEngine({ stats: () => ({ loss: 2 }) });
      const model = modelWith(engine, 4);
      expect(await held.trainStep(model, input, { nMbs: 2 })).toEqual({ loss: 2 });
      expect(engine.calls).toHaveLength(1);
      expect(engine.calls[0]).toMatchObject({
        method: 'trainBatch',
        loss: { name },
        options: { nMbs: 2, versionSteps: 4 },
      });
      expect(model.version.globalStep).toBe(4);
      // Training mode (dropout), drawn anew in every step.
      await held.trainStep(modelWith(engine, 5), input, {});
      const seeds = engine.calls.map((c) => c.options.noiseSeed);
      expect(seeds).toEqual([expect.any(Number), expect.any(Number)]);
      expect(seeds[1]).not.toBe(seeds[0]);
    },
  );

  it.each(cases)(
    '$name: evaluation trains nothing and weighs batches by what they hold',
    async ({ held, batches: [a, b] }) => {
      // An engine that cannot train.
      const engine = new ScriptedEngine({ stats: (n) => ({ loss: n === 0 ? 1 : 4 }) });
      const stats = await held.evaluate(modelWith(engine), [a, b]);
      expect(engine.calls.map((c) => c.method)).toEqual(['evalBatch', 'evalBatch']);
      const { loss } = engine.calls[0]!;
      const [wa, wb] = [loss!.weight(a), loss!.weight(b)];
      expect(stats.loss).toBeCloseTo((wa + 4 * wb) / (wa + wb), 12);
    },
  );

  it('sft: evaluation skips batches of prompts only', async () => {
    const engine = new ScriptedEngine({ stats: () => ({ loss: 3 }) });
    const prompt = SequenceSample.fromDefault({
      ids: ['p'],
      seqlens: [2],
      data: { packed_input_ids: new Int32Array(2), prompt_mask: Uint8Array.of(1, 1) },
    });
    const batches = [prompt, packRollout(randomRollout(3, 1))];
    expect(await new SftInterface().evaluate(modelWith(engine), batches)).toEqual({ loss: 3 });
    expect(engine.calls).toHaveLength(1);
  });
});

describe('paired_rw inference', () => {
  const engine = new ScriptedEngine({
    values: () => Float32Array.from({ length: 10 }, (_, i) => i),
  });
  it('gives (last value − bias) · scaling of every sequence', async () => {
    const held = new PairedRewardInterface({ output_scaling: 2, output_bias: 1 });
    const out = await held.inference(modelWith(engine), pairs, {});
    expect(out.seqlens.rewards).toEqual([
      [1, 1],
      [1, 1, 1, 1],
    ]);
    expect([...out.f32('rewards')]).toEqual([0, 2, 4, 5, 6, 9].map((v) => (v - 1) * 2));
  });
  it('names the item of a reward that is not finite', async () => {
    const bad = new ScriptedEngine({ values: () => new Float32Array(10).fill(0).fill(NaN, 5, 6) });
    const run = new PairedRewardInterface().inference(modelWith(bad), pairs, {});
    await expect(run).rejects.toThrow(NumericError);
    await expect(run).rejects.toThrow(/'rewards' of id 'y' is NaN/);
  });
});

describe('registerInterfaces', () => {
  it('registers all, and may be called again', () => {
    registerInterfaces();
    registerInterfaces();
    for (const name of ['sft', 'paired_rw', 'dpo', 'grpo', 'ppo_actor', 'ppo_critic'])
      expect(interfaces.get(name)({}), name).toBeTypeOf('object');
  });
});
