/** Training with real kernels: repeatable to the bit, resumable to the bit, and nothing is updated by what is not a number. */
import {
  NumericError,
  SequenceSample,
  type Loss,
  type Model,
  type ModelConfig,
  type Stats,
  type Tokenizer,
} from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import {
  PairedRewardInterface,
  PpoActorInterface,
  PpoCriticInterface,
  sftLoss,
  type ReaLModel,
} from '@realhf/model';
import { expect, test } from 'vitest';

import {
  adamConfig,
  gpt2,
  llama,
  makeModel,
  makeRanks,
  tokensSample,
  useOps,
  wholeTensors,
} from './harness.js';

const ops = useOps();

function engineOf(config: ModelConfig, lr = 1e-2): { model: ReaLModel; engine: AdamEngine } {
  const model = makeModel(ops(), config);
  return {
    model,
    engine: new AdamEngine(model, { optimizer: adamConfig({ lr }), totalSteps: 20 }),
  };
}

/** `steps` SFT steps over batches that differ by step. */
async function sftSteps(engine: AdamEngine, from: number, to: number): Promise<Stats[]> {
  const out: Stats[] = [];
  for (let step = from; step < to; step++) {
    const sample = tokensSample(engine.config, [9, 4, 12, 5], 5 + (step % 2));
    out.push(await engine.trainBatch(sample, sftLoss, { versionSteps: step, nMbs: 2 }));
  }
  return out;
}

test('ten SFT steps repeat to the bit and learn', async () => {
  const runs = [];
  for (let run = 0; run < 2; run++) {
    const { model, engine } = engineOf(llama());
    runs.push({
      stats: await sftSteps(engine, 0, 10),
      params: await wholeTensors([model], 'params'),
    });
    engine.free();
    model.free();
  }
  expect(runs[1]).toEqual(runs[0]);
  const losses = runs[0]!.stats.map((s) => s.loss!);
  expect(losses[8]!).toBeLessThan(losses[0]! / 2);
  expect(losses[9]!).toBeLessThan(losses[1]! / 2);
});

test('two models trained at once on one device make the steps that each makes alone', async () => {
  const configs = [llama(), gpt2({ nLayers: 1 })];
  const alone = [];
  for (const config of configs) {
    const { model, engine } = engineOf(config);
    alone.push([await sftSteps(engine, 0, 3), await engine.saveState()]);
    engine.free();
    model.free();
  }
  const both = configs.map((c) => engineOf(c));
  const together = await Promise.all(
    both.map(async ({ engine }) => [await sftSteps(engine, 0, 3), await engine.saveState()]),
  );
  expect(together).toEqual(alone);
  for (const { model, engine } of both) {
    engine.free();
    model.free();
  }
});

test('a run resumed from saved state goes on to the bit', async () => {
  const config = llama();
  const whole = engineOf(config);
  const want = await sftSteps(whole.engine, 0, 6);
  const first = engineOf(config);
  await sftSteps(first.engine, 0, 3);
  const state = await first.engine.saveState();
  const second = engineOf(config);
  await sftSteps(second.engine, 0, 1);
  second.engine.loadState(state);
  expect(await sftSteps(second.engine, 3, 6)).toEqual(want.slice(3));
  expect(await second.engine.saveState()).toEqual(await whole.engine.saveState());
  for (const { model, engine } of [whole, first, second]) {
    engine.free();
    model.free();
  }
});

test('state of another model is refused', async () => {
  const one = engineOf(llama());
  const other = engineOf(llama({ nLayers: 1 }));
  const state = await one.engine.saveState();
  const before = await other.engine.saveState();
  expect(() => {
    other.engine.loadState(state);
  }).toThrow('resume with the same model and layout');
  expect(await other.engine.saveState()).toEqual(before);
  for (const { model, engine } of [one, other]) {
    engine.free();
    model.free();
  }
});

const nanLoss: Loss = { ...sftLoss, compute: () => ({ loss: NaN }) };
const nanGradient: Loss = {
  ...sftLoss,
  compute: (i) => ({ loss: 1, dLogProbs: i.logProbs!.map(() => NaN) }),
};

test('a loss, a gradient or a parameter that is NaN: NumericError, parameters untouched', async () => {
  const { model, engine } = engineOf(llama());
  await sftSteps(engine, 0, 1);
  const before = await engine.saveState();
  const sample = tokensSample(model.config, [9, 4]);
  for (const [loss, text] of [
    [nanLoss, "loss 'sft' is NaN on ids s0, s1; parameters were not changed"],
    [nanGradient, "gradient norm of loss 'sft' is NaN at step 1; parameters were not changed"],
  ] as const) {
    const thrown = engine.trainBatch(sample, loss, { versionSteps: 1 });
    await expect(thrown).rejects.toThrow(text);
    await expect(thrown).rejects.toBeInstanceOf(NumericError);
    expect(await engine.saveState()).toEqual(before);
  }
  // The next good step is the one that would have been.
  const good = await sftSteps(engine, 1, 2);
  engine.loadState(before);
  expect(await sftSteps(engine, 1, 2)).toEqual(good);

  const name = '1.attn.o.weight';
  const poisoned = await model.dump(name);
  poisoned[3] = NaN;
  model.load(name, poisoned);
  const held = await engine.saveState();
  await expect(sftSteps(engine, 2, 3)).rejects.toThrow(
    "loss 'sft' is NaN: the log-probs of id 's0' are NaN",
  );
  expect(await engine.saveState()).toEqual(held);
  engine.free();
  model.free();
});

test.each([{ dataParallelSize: 2 }, { pipelineParallelSize: 2 }, { tensorParallelSize: 2 }])(
  'NaN on one rank of %j ends the step on all of them',
  async (layout) => {
    const config = llama();
    const ranks = makeRanks(ops(), config, layout);
    const sample = tokensSample(config, [9, 4, 6]);
    // Data parallel: only rank 1 meets it, in its second of three microbatches.
    const odd: Loss = {
      ...sftLoss,
      compute: (i) => (i.sample.ids.includes('s1') ? { loss: NaN } : sftLoss.compute(i)),
    };
    const before = await wholeTensors(ranks, 'params');
    const results = await Promise.allSettled(
      ranks.map((r, i) =>
        new AdamEngine(r, { optimizer: adamConfig(), totalSteps: 2 }).trainBatch(
          'dataParallelSize' in layout && i === 0 ? sample.slice(2, 3) : sample,
          odd,
          { versionSteps: 0, nMbs: 3 },
        ),
      ),
    );
    for (const r of results) {
      expect(r.status).toBe('rejected');
      if (r.status === 'rejected')
        expect(String(r.reason)).toMatch(/NumericError: loss 'sft' is NaN on/);
    }
    expect(await wholeTensors(ranks, 'params')).toEqual(before);
    for (const r of ranks) r.free();
  },
);

const tokenizer: Tokenizer = {
  eosTokenId: 1,
  padTokenId: 1,
  bosTokenId: null,
  vocabSize: 128,
  encode: () => new Int32Array(),
  decode: () => '',
};

/** One PPO step as the dataflow makes it: rollout, rewards, reference, values, both updates. */
async function ppoStep(models: Record<'actor' | 'critic' | 'ref' | 'reward', Model>, step: number) {
  const options = {
    gen: { max_new_tokens: 8, min_new_tokens: 2, top_p: 0.9, top_k: 50, temperature: 0.9 },
    ppo_n_minibatches: 2,
    entropy_coeff: 0.01,
  };
  const actor = new PpoActorInterface(options);
  const critic = new PpoCriticInterface(options);
  const prompts = tokensSample(models.actor.engine.config, [3, 5, 4, 6], 50 + step)
    .remapKeys({ packed_input_ids: 'packed_prompts' })
    .select(['packed_prompts']);
  const data = await actor.generate(models.actor, prompts, {});
  data.update(await new PairedRewardInterface().inference(models.reward, data, {}));
  data.update(await actor.inference(models.ref, data, {}));
  data.update(await critic.inference(models.critic, data, {}));
  const actorStats = await actor.trainStep(models.actor, data, { nMbs: 2 });
  const criticStats = await critic.trainStep(models.critic, data, { nMbs: 1 });
  models.actor.version.globalStep++;
  models.critic.version.globalStep++;
  return { data, actorStats, criticStats };
}

test('two PPO steps repeat to the bit; the first ratio is exactly 1', async () => {
  const runs = [];
  for (let run = 0; run < 2; run++) {
    const owned: { model: ReaLModel; engine: AdamEngine }[] = [];
    const make = (role: string, config: ModelConfig): Model => {
      const both = engineOf(config, 1e-3);
      owned.push(both);
      return {
        name: { role, replicaId: 0 },
        engine: both.engine,
        tokenizer,
        version: { epoch: 0, epochStep: 0, globalStep: 0 },
        seed: 1,
      };
    };
    const models = {
      actor: make('actor', llama()),
      ref: make('ref', llama()),
      critic: make('critic', llama({ isCritic: true })),
      reward: make('reward', llama({ isCritic: true })),
    };
    const first = await ppoStep(models, 0);
    const second = await ppoStep(models, 1);
    runs.push({ first, second, params: await wholeTensors([owned[0]!.model], 'params') });
    // The reference is the actor of before the first step.
    expect(first.data.f32('packed_ref_logprobs')).toEqual(first.data.f32('packed_logprobs'));
    expect(second.data.f32('packed_ref_logprobs')).not.toEqual(second.data.f32('packed_logprobs'));
    for (const { model, engine } of owned) {
      engine.free();
      model.free();
    }
  }
  expect(runs[1]).toEqual(runs[0]);
});

test('a PPO step whose policy has not moved has ratio 1 and KL 0, exactly', async () => {
  const { model, engine } = engineOf(llama());
  const options = {
    gen: { max_new_tokens: 8, min_new_tokens: 2, top_p: 0.9, top_k: 50, temperature: 0.9 },
    ppo_n_minibatches: 1,
  };
  const actor = new PpoActorInterface(options);
  const named: Model = {
    name: { role: 'actor', replicaId: 0 },
    engine,
    tokenizer,
    version: { epoch: 0, epochStep: 0, globalStep: 0 },
    seed: 1,
  };
  const prompts = tokensSample(model.config, [3, 5, 4, 6])
    .remapKeys({ packed_input_ids: 'packed_prompts' })
    .select(['packed_prompts']);
  const data = await actor.generate(named, prompts, {});
  data.update(await actor.inference(named, data, {}));
  const lens = data.lengths('packed_input_ids');
  data.update(
    SequenceSample.fromDefault({
      ids: data.ids,
      seqlens: lens,
      data: {
        rewards: Float32Array.from(lens, (l) => l % 3),
        values: new Float32Array(lens.reduce((a, b) => a + b, 0)),
      },
    }),
  );
  const stats = await actor.trainStep(named, data, { nMbs: 2 });
  expect(stats.importance_weight).toBe(1);
  expect(stats.ppo_approx_kl).toBe(0);
  expect(stats.actor_clip_ratio).toBe(0);
  engine.free();
  model.free();
});
