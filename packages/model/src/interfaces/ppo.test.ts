import { NumericError, SequenceSample, type Loss } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { expectClose } from '../losses/test-losses.js';
import { encodeKept, joinKept } from '../generation/kept-sets.js';
import { packRollout, randomRollout, withKeptSets } from '../ppo/test-rollouts.js';
import { PpoActorInterface, type PpoInterfaceOptions } from './ppo-actor.js';
import { PpoCriticInterface } from './ppo-critic.js';
import { modelWith, ScriptedEngine, ScriptedTrainEngine, vocabSize } from './test-engine.js';

const prompts = SequenceSample.fromDefault({
  ids: ['a', 'b'],
  seqlens: [2, 1],
  data: { packed_prompts: Int32Array.of(3, 4, 5) },
});
const answer = {
  tokens: [Int32Array.of(6, 0), Int32Array.of(7)],
  logProbs: [Float32Array.of(-1, -2), Float32Array.of(-3)],
  noEos: [false, true],
};
const gen = { temperature: 0.7, max_new_tokens: 4, min_new_tokens: 0 };
const newEngine = () => new ScriptedTrainEngine({ generate: () => answer });
const lossOf = async (options: PpoInterfaceOptions, input: SequenceSample): Promise<Loss> => {
  const engine = newEngine();
  await new PpoActorInterface(options).trainStep(modelWith(engine), input, {});
  return engine.calls[0]!.loss!;
};

describe('ppo_actor generate', () => {
  it('makes the keys of a rollout', async () => {
    const engine = newEngine();
    const out = await new PpoActorInterface({ gen }).generate(modelWith(engine), prompts, {
      nMbs: 2,
    });
    expect([...out.keys].sort()).toEqual([
      'packed_input_ids',
      'packed_logits_mask',
      'packed_logprobs',
      'prompt_mask',
      'seq_no_eos_mask',
    ]);
    expect([...out.i32('packed_input_ids')]).toEqual([3, 4, 6, 0, 5, 7]);
    expect(engine.calls[0]!.options).toMatchObject({
      nMbs: 2,
      eosTokenId: 0,
      padTokenId: 1,
      gconfig: gen,
    });
  });
  it('makes no mask where none is wanted', async () => {
    for (const options of [{ logits_mask: false }, { gen: { force_no_logits_mask: true } }]) {
      const out = await new PpoActorInterface(options).generate(
        modelWith(newEngine()),
        prompts,
        {},
      );
      expect([...out.keys]).not.toContain('packed_logits_mask');
    }
  });
  it('defect 29: draws anew at every step, the same at the same step', async () => {
    const seedAt = async (step: number) => {
      const engine = newEngine();
      await new PpoActorInterface().generate(modelWith(engine, step), prompts, {});
      return engine.calls[0]!.options.seed;
    };
    const seeds = await Promise.all([0, 1, 2, 3].map(seedAt));
    expect(new Set(seeds).size).toBe(4);
    expect(await seedAt(2)).toBe(seeds[2]);
  });
});

describe('ppo_actor: one distribution in generation, reference and training', () => {
  const seqs = randomRollout(2, 3);
  const tokens = seqs.reduce((n, s) => n + s.values.length, 0);
  const masked = withKeptSets(packRollout(seqs), new Uint8Array(tokens), vocabSize);
  const reference = async (options: PpoInterfaceOptions, input: SequenceSample) => {
    const engine = new ScriptedEngine({ logProbs: () => new Float32Array(tokens - 2).fill(-1) });
    const out = await new PpoActorInterface(options).inference(modelWith(engine), input, {
      nMbs: 3,
    });
    return { out, options: engine.calls[0]!.options };
  };

  it('defect 10: the temperature of generation is that of the reference and of the ratio', async () => {
    expect((await reference({ gen }, masked)).options.temperature).toBe(0.7);
    expect((await lossOf({ gen }, masked)).temperature).toBe(0.7);
  });
  it.each([
    ['temperature 0', { temperature: 0 }],
    ['greedy, which ignores the option', { greedy: true, temperature: 0.7 }],
  ])('temperature 1 under %s', async (_, g) => {
    expect((await reference({ gen: g }, masked)).options.temperature).toBe(1);
    expect((await lossOf({ gen: g }, masked)).temperature).toBe(1);
  });
  it('applies the mask of generation where there is one', async () => {
    expect((await reference({}, masked)).options).toMatchObject({
      maskKey: 'packed_logits_mask',
      nMbs: 3,
    });
    expect((await lossOf({}, masked)).maskKey).toBe('packed_logits_mask');
    expect((await reference({}, packRollout(seqs))).options).not.toHaveProperty('maskKey');
    expect((await lossOf({}, packRollout(seqs))).maskKey).toBeUndefined();
  });
  it('the reference gives packed_ref_logprobs, computed for answers only where prompts are known', async () => {
    const { out, options } = await reference({}, masked);
    expect([...out.keys]).toEqual(['packed_ref_logprobs']);
    expect(out.lengths('packed_ref_logprobs')).toEqual(seqs.map((s) => s.old.length));
    const needed = options.needed as (s: SequenceSample) => Uint8Array;
    const answers = seqs.flatMap((s) => s.old.map((_, t) => +(t + 1 >= s.prompt)));
    expect([...needed(masked)]).toEqual(answers);
    const bare = await reference({}, masked.select(['packed_input_ids']));
    expect(bare.options).not.toHaveProperty('needed');
  });
});

const trainers = {
  actor: (options: PpoInterfaceOptions) => new PpoActorInterface(options),
  critic: (options: PpoInterfaceOptions) => new PpoCriticInterface(options),
};

describe.each(['actor', 'critic'] as const)('ppo_%s train step', (role) => {
  const make = trainers[role];

  it.each([
    [8, 4, 1, 4],
    [3, 4, 1, 3],
    [8, 2, 3, 2],
    [9, 4, 2, 4],
    [5, 4, 7, 4],
  ])(
    '%i sequences, %i minibatches, %i microbatches: %i optimizer steps',
    async (bs, k, nMbs, want) => {
      const engine = new ScriptedTrainEngine();
      const input = packRollout(randomRollout(bs, bs));
      const model = modelWith(engine, 17);
      await make({ ppo_n_minibatches: k }).trainStep(model, input, { nMbs });
      expect(engine.calls.map((c) => c.method)).toEqual(Array(want).fill('trainBatch'));
      expect(engine.calls.flatMap((c) => c.input.ids)).toEqual(input.ids);
      const least = Math.min(nMbs, Math.floor(bs / want));
      for (const c of engine.calls) {
        expect(c.input.bs).toBeGreaterThanOrEqual(least);
        expect(c.options).toEqual({ nMbs, versionSteps: 17 });
      }
      // Who runs the MFC counts the train steps of a model, not the interface.
      expect(model.version).toEqual({ epoch: 0, epochStep: 17, globalStep: 17 });
    },
  );

  it('defect 17: state of KL controller and value norm gives the identical continuation', async () => {
    const options = { use_adaptive_kl_ctl: true, adaptive_kl_target: 0.5, adaptive_kl_horizon: 50 };
    const run = async (held: ReturnType<typeof make>, seed: number) => {
      const engine = new ScriptedTrainEngine();
      const stats = await held.trainStep(
        modelWith(engine),
        packRollout(randomRollout(6, seed)),
        {},
      );
      return { stats, inputs: engine.calls.map((c) => ({ ...c.input.data })) };
    };
    const whole = make(options);
    await run(whole, 1);
    await run(whole, 2);
    const resumed = make(options);
    resumed.restore(JSON.parse(JSON.stringify(whole.state())));
    expect(await run(resumed, 3)).toEqual(await run(whole, 3));
    expect(resumed.state()).toEqual(whole.state());
    expect(await run(make(options), 3)).not.toEqual(await run(whole, 3));
  });

  it('refuses a state that does not fit', () => {
    const state = make({ value_norm: false }).state();
    expect(state.valueNorm).toBeNull();
    for (const bad of [state, null, { klCtl: 'x' }])
      expect(() => {
        make({}).restore(bad);
      }).toThrow(/does not fit value_norm=true/);
  });

  it('defect 11: kl_ctl rises with a policy far from the reference, falls near it', async () => {
    const after = async (gap: number) => {
      const held = make({ use_adaptive_kl_ctl: true, kl_ctl: 0.1 });
      const seqs = randomRollout(4, 1).map((s) => ({ ...s, ref: s.old.map((p) => p - gap) }));
      await held.trainStep(modelWith(new ScriptedTrainEngine()), packRollout(seqs), {});
      return held.state().klCtl;
    };
    expect(await after(100)).toBeGreaterThan(0.1);
    expect(await after(0)).toBeLessThan(0.1);
  });

  it('a NaN reward names key and id before anything learned from it', async () => {
    const held = make({ use_adaptive_kl_ctl: true });
    const before = JSON.stringify(held.state());
    const input = packRollout(randomRollout(4, 1));
    input.f32('rewards')[2] = NaN;
    const engine = new ScriptedTrainEngine();
    const step = held.trainStep(modelWith(engine), input, {});
    await expect(step).rejects.toThrow(NumericError);
    await expect(step).rejects.toThrow(/'rewards' of id 's2' is NaN/);
    expect(engine.calls).toEqual([]);
    expect(JSON.stringify(held.state())).toBe(before);
  });

  it('needs an engine that trains', async () => {
    const step = make({}).trainStep(
      modelWith(new ScriptedEngine()),
      packRollout(randomRollout(4, 1)),
      {},
    );
    await expect(step).rejects.toThrow(/model actor@0 has an inference engine/);
  });

  it('is saved unless told otherwise', () => {
    expect([make({}).enableSave, make({ enable_save: false }).enableSave]).toEqual([true, false]);
  });
});

describe('stats of a PPO step', () => {
  it('actor: P13, the means of the minibatches', async () => {
    const seqs = randomRollout(4, 2);
    const tokens = seqs.reduce((n, s) => n + s.values.length, 0);
    const input = withKeptSets(
      packRollout(seqs),
      joinKept(Array.from({ length: tokens }, () => encodeKept([3, 0xff], vocabSize))),
      vocabSize,
    );
    const engine = new ScriptedTrainEngine({
      stats: (n) => ({
        actor_loss: n,
        ppo_approx_kl: 2 * n,
        actor_clip_ratio: 0.5,
        importance_weight: 1,
        // Only where a step was taken.
        ...(n === 1 ? { grad_norm: 6 } : {}),
      }),
    });
    const stats = await new PpoActorInterface().trainStep(modelWith(engine), input, {});
    for (const name of (
      'task_reward kl_reward advantage avg_seq_len avg_prompt_len n_tokens n_seqs valid_vocab_ratio ' +
      'ppo_approx_kl actor_loss actor_clip_ratio importance_weight kl_ctl no_eos_ratio'
    ).split(' '))
      expect(stats[name], name).toEqual(expect.any(Number));
    expect(stats).toMatchObject({
      actor_loss: 1.5,
      ppo_approx_kl: 3,
      grad_norm: 6,
      n_seqs: 4,
      kl_ctl: 0.1,
      // Two bits of the first word, six of the eight of the second: it has 8 of the 40 tokens.
      valid_vocab_ratio: 10 / 40,
    });
  });
  it('critic: P14', async () => {
    const engine = new ScriptedTrainEngine({
      stats: (n) => ({ value_loss: n, value_clip_ratio: 0 }),
    });
    const input = packRollout(randomRollout(4, 2));
    const stats = await new PpoCriticInterface().trainStep(modelWith(engine), input, {});
    expect(Object.keys(stats).sort()).toEqual([
      'denormalized_values',
      'n_tokens',
      'returns',
      'value_clip_ratio',
      'value_loss',
    ]);
    expect(stats.value_loss).toBe(1.5);
  });
});

describe('ppo_critic', () => {
  it('gives values, 0 after the last token of a terminated sequence', async () => {
    const seqs = randomRollout(3, 1).map((s, i) => ({ ...s, truncated: i === 1 }));
    const input = packRollout(seqs);
    const engine = new ScriptedEngine({ values: (s) => s.f32('values').map(() => 7) });
    const out = await new PpoCriticInterface().inference(modelWith(engine), input, { nMbs: 2 });
    const want = seqs.flatMap((s) =>
      s.values.map((_, t) => (t === s.values.length - 1 && !s.truncated ? 0 : 7)),
    );
    expect([...out.f32('values')]).toEqual(want);
    expect(engine.calls[0]!.options).toEqual({ nMbs: 2 });
  });

  it('learns returns normalised by statistics that have seen them, from values as the critic gave them', async () => {
    const input = packRollout(randomRollout(6, 4));
    const targets = async (options: PpoInterfaceOptions) => {
      const engine = new ScriptedTrainEngine();
      await new PpoCriticInterface({ ppo_n_minibatches: 1, ...options }).trainStep(
        modelWith(engine),
        input,
        {},
      );
      const { input: mb, loss } = engine.calls[0]!;
      return { mb, loss, returns: mb.f32('returns'), mask: mb.u8('ppo_loss_mask') };
    };
    const raw = await targets({ value_norm: false });
    const normed = await targets({ value_norm_type: 'ma' });
    const kept = [...raw.returns].filter((_, j) => raw.mask[j]);
    const mean = kept.reduce((a, b) => a + b, 0) / kept.length;
    const std = Math.sqrt(kept.reduce((a, b) => a + (b - mean) ** 2, 0) / kept.length);
    const want = raw.returns.map((r) => Math.min(Math.max((r - mean) / std, -5), 5));
    expectClose(normed.returns, want, 1e-4, 1e-5);
    expect(normed.mb.f32('old_values')).toEqual(raw.mb.f32('old_values'));
    expect(raw.loss!.name).toBe('ppo_critic');
  });
});
