/** Adapters in whole models: gradients, merged weights, generation, what stays frozen, memory, layouts, exact resume. */
import { SequenceSample, type ModelConfig, type PackedBatch } from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import { ReaLModel, type LoraConfig } from '@realhf/model';
import { expect, test } from 'vitest';

import {
  adamConfig,
  batchOf,
  expectTensorsClose,
  gpt2,
  llama,
  makeModel,
  normal,
  randomParams,
  relativeError,
  tokensSample,
  useOps,
} from './harness.js';
import { adaptedRanks, everywhere, freeAdapted, mergedModel } from './lora-suite.js';
import { layoutOf, partsOf, wholeGradients } from './parallel-grid.js';
import { likelihood } from './parallel-suite.js';

const ops = useOps();
const lengths = [7, 5];
const few: LoraConfig = { rank: 3, alpha: 5, targets: ['v_proj', 'q_proj'], rslora: true };
const plain: LoraConfig = {
  rank: 2,
  alpha: 4,
  targets: ['k_proj', 'o_proj', 'up_proj', 'down_proj'],
};

const batch = (config: ModelConfig): PackedBatch => batchOf(tokensSample(config, lengths));

/** A linear functional of what the head gives, and its gradient when training. */
async function objective(model: ReaLModel, train: boolean): Promise<number> {
  const pass = await model.forward(batch(model.config), { train });
  const { logProbs, values } = pass.output!;
  const out = logProbs ?? values!;
  const c = normal(out.length, 72);
  if (train) await pass.backward(logProbs ? { dLogProbs: c } : { dValues: c });
  return out.reduce((s, x, i) => s + x * c[i]!, 0);
}

for (const [name, config, lora] of [
  ['llama, all targets', llama(), everywhere],
  ['llama, q and v', llama(), few],
  ['qwen3 with normed heads, all targets', llama({ family: 'qwen3', qkNorm: true }), everywhere],
  ['gpt2', gpt2({ vocabSize: 101 }), plain],
  ['a critic and its head', llama({ isCritic: true }), few],
] as const)
  test(`gradient by differences along a random direction: ${name}`, async () => {
    const model = adaptedRanks(ops(), config, lora, { gradientCheckpointing: lora === few })[0]!;
    model.gradients();
    await objective(model, true);
    const params = new Map<string, Float32Array>();
    const direction = new Map<string, Float32Array>();
    let analytic = 0;
    let norm = 0;
    for (const [k, { name }] of model.specs.entries()) {
      params.set(name, await model.dump(name));
      const g = await model.dump(name, 'grads');
      // Random sizes with the signs of the gradient: no component can hide behind another.
      const d = normal(g.length, 500 + k).map((x, i) => Math.abs(x) * Math.sign(g[i]!));
      direction.set(name, d);
      expect(d.some((x) => x !== 0)).toBe(true);
      analytic += d.reduce((s, x, i) => s + x * g[i]!, 0);
      norm += d.reduce((s, x) => s + x * x, 0);
    }
    const at = async (h: number) => {
      for (const [name, p] of params)
        model.load(
          name,
          p.map((x, i) => x + (h * direction.get(name)![i]!) / Math.sqrt(norm)),
        );
      return objective(model, false);
    };
    const h = 0.02;
    const near = (await at(h)) - (await at(-h));
    const far = (await at(2 * h)) - (await at(-2 * h));
    const numeric = (8 * near - far) / (12 * h);
    analytic /= Math.sqrt(norm);
    expect(Math.abs(numeric - analytic) / analytic).toBeLessThan(2e-3);
    freeAdapted(model);
  });

test('merged weights give the same logits; without the adapter there is the base, bit for bit', async () => {
  const config = llama();
  const params = randomParams(config, ops());
  const model = adaptedRanks(ops(), config, everywhere, { params })[0]!;
  const logits = async (m: ReaLModel) =>
    (await m.forward(batch(config), { train: false, logits: true })).output!.logits!;
  const merged = await mergedModel(ops(), model);
  const adapted = await logits(model);
  expect(relativeError(await logits(merged), adapted)).toBeLessThan(1e-5);
  const alone = makeModel(ops(), config, { params });
  const base = await logits(alone);
  expect(relativeError(base, adapted)).toBeGreaterThan(0.1);
  // After training steps too: the reference is the same weights.
  const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 10 });
  const sample = tokensSample(config, lengths);
  const losses = [];
  for (let i = 0; i < 8; i++)
    losses.push((await engine.trainBatch(sample, likelihood, { versionSteps: i })).loss!);
  expect(losses.at(-1)!).toBeLessThan(0.7 * losses[0]!);
  expect(await logits(model.adapter!.base)).toEqual(base);
  engine.free();
  freeAdapted(model, alone, merged);
});

test('greedy generation runs with the adapter; its log-probs are those of a later pass', async () => {
  const config = llama();
  const model = adaptedRanks(ops(), config, everywhere)[0]!;
  const merged = await mergedModel(ops(), model);
  const engine = (network: ReaLModel) =>
    new AdamEngine(network, { optimizer: adamConfig(), totalSteps: 1 });
  const engines = [engine(model), engine(merged)];
  const prompts = tokensSample(config, [4, 3]).remapKeys({ packed_input_ids: 'packed_prompts' });
  const gconfig = {
    max_new_tokens: 6,
    min_new_tokens: 0,
    greedy: true,
    top_p: 1,
    top_k: config.vocabSize,
    temperature: 1,
    force_no_logits_mask: true,
  };
  const [ours, theirs] = await Promise.all(
    engines.map((e) => e.generate(prompts, gconfig, { eosTokenId: 1, padTokenId: null, seed: 1 })),
  );
  expect(ours!.tokens).toEqual(theirs!.tokens);
  expect(relativeError(ours!.logProbs[0]!, theirs!.logProbs[0]!)).toBeLessThan(1e-4);
  const prompt = prompts.slice(0, 1).i32('packed_prompts');
  const whole = SequenceSample.fromDefault({
    ids: ['a'],
    seqlens: [4 + ours!.tokens[0]!.length],
    data: { packed_input_ids: Int32Array.of(...prompt, ...ours!.tokens[0]!) },
  });
  const later = await engines[0]!.logProbs(whole);
  expect(relativeError(later.slice(3), ours!.logProbs[0]!)).toBe(0);
  for (const e of engines) e.free();
  freeAdapted(model, merged);
});

test('memory: gradients and moments of the adapter only, weights once', async () => {
  const config = llama({ nLayers: 4, hiddenDim: 128, intermediateDim: 256 });
  const weights = makeModel(ops(), config);
  const bytes = weights.specs.reduce((n, s) => n + 4 * s.size, 0);
  const before = ops().memory().live;
  const adapted = { base: weights, lora: few };
  const model = new ReaLModel({ ops: ops(), config, adapter: adapted });
  model.init(1);
  const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 1 });
  await engine.trainBatch(tokensSample(config, lengths), likelihood, { versionSteps: 0 });
  const adapter = model.specs.reduce((n, s) => n + 4 * s.size, 0);
  const added = ops().memory().live - before;
  // Parameters, gradients, two moments; alignment and gradients of norms that nobody reads.
  expect(added).toBeGreaterThanOrEqual(4 * adapter);
  expect(added).toBeLessThan(0.25 * bytes);
  engine.free();
  model.free();
  expect(ops().memory().live).toBe(before);
  weights.free();
});

test('every layout learns what one rank learns', async () => {
  const config = llama({ nHeads: 4, nKvHeads: 1, nLayers: 3 });
  const params = randomParams(config, ops());
  const sample = tokensSample(config, [7, 5, 9, 4]);
  const learn = async (name: string) => {
    const ranks = adaptedRanks(ops(), config, everywhere, { params, layout: layoutOf(name) });
    const engines = ranks.map((m) => new AdamEngine(m, { optimizer: adamConfig(), totalSteps: 1 }));
    const parts = partsOf(ranks, sample);
    const stats = await Promise.all(
      engines.map((e, r) => e.trainBatch(parts[r]!, likelihood, { versionSteps: 0 })),
    );
    const gradients = await wholeGradients(engines);
    for (const e of engines) e.free();
    freeAdapted(...ranks);
    return { stats, gradients };
  };
  const one = await learn('d1m1p1');
  for (const name of ['d1m2p1', 'd1m2p1s', 'd1m1p2', 'd2m1p1', 'd2m2p1']) {
    const many = await learn(name);
    expectTensorsClose(many.gradients, one.gradients, 2e-5);
    for (const s of many.stats) {
      expect(Math.abs(s.loss! / one.stats[0]!.loss! - 1)).toBeLessThan(1e-5);
      expect(Math.abs(s.grad_norm! / one.stats[0]!.grad_norm! - 1)).toBeLessThan(1e-5);
    }
  }
});

test('an adapter goes on from its state bit by bit; the values of its start do not depend on the layout', async () => {
  const config = llama();
  const params = randomParams(config, ops());
  const make = () => {
    const model = adaptedRanks(ops(), config, few, { params })[0]!;
    model.init(7);
    return { model, engine: new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 9 }) };
  };
  const [a, b] = [make(), make()];
  const sample = tokensSample(config, lengths);
  const steps = async ({ engine }: typeof a, from: number, to: number) => {
    for (let i = from; i < to; i++)
      await engine.trainBatch(sample, likelihood, { versionSteps: i });
  };
  await steps(a, 0, 2);
  const state = await a.engine.saveState();
  expect(state.params.reduce((n, p) => n + p.length, 0)).toBeLessThan(5000);
  b.engine.loadState(state);
  await steps(a, 2, 4);
  await steps(b, 2, 4);
  expect(await b.engine.saveState()).toEqual(await a.engine.saveState());
  for (const { model, engine } of [a, b]) {
    engine.free();
    freeAdapted(model);
  }
});
