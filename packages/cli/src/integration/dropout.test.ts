/** Dropout in whole models: its gradient, and that what is drawn depends on seed, sequence and position alone. */
import type { ForwardOptions, ModelConfig, Stats } from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import type { ReaLModel } from '@realhf/model';
import { expect, test } from 'vitest';

import {
  adamConfig,
  batchOf,
  expectTensorsClose,
  gpt2,
  llama,
  makeModel,
  makeRanks,
  normal,
  relativeError,
  tokensSample,
  useOps,
  wholeTensors,
} from './harness.js';
import { likelihood, release } from './parallel-suite.js';

const ops = useOps();
const lengths = [7, 5, 9];
const dropout = { embdDropout: 0.1, residDropout: 0.2, attnDropout: 0.3 };
const seeds = Uint32Array.of(1, 2, 3);

async function run(ranks: readonly ReaLModel[], more: Partial<ForwardOptions> = {}) {
  const outputs = await Promise.all(
    ranks.map(async (model) => {
      const pass = await model.forward(batchOf(tokensSample(model.config, lengths)), {
        train: true,
        noiseSeeds: seeds,
        ...more,
      });
      await pass.backward(pass.output && { dLogProbs: normal(18, 4) });
      await model.finishGradients();
      return pass.output;
    }),
  );
  const grads = await wholeTensors(ranks, 'grads');
  release(...ranks);
  return { logProbs: outputs.at(-1)!.logProbs!, grads };
}

test('gradient along a direction', async () => {
  const model = makeModel(ops(), gpt2({ ...dropout, vocabSize: 61 }));
  model.gradients();
  const d = normal(18, 4);
  const objective = async (back = false) => {
    const pass = await model.forward(batchOf(tokensSample(model.config, lengths)), {
      train: true,
      noiseSeeds: seeds,
    });
    const value = pass.output!.logProbs!.reduce((s, x, i) => s + x * d[i]!, 0);
    if (back) await pass.backward({ dLogProbs: d });
    pass.release();
    return value;
  };
  await objective(true);
  const bad: string[] = [];
  for (const name of ['0.wte.weight', '0.wpe.weight', '1.attn.qkv.weight', '1.mlp.fc.weight']) {
    const [at, g] = [await model.dump(name), await model.dump(name, 'grads')];
    const raw = normal(g.length, 7).map((x, k) => Math.abs(x) * Math.sign(g[k]!));
    const norm = Math.hypot(...raw);
    const shifted = (h: number) => {
      model.load(
        name,
        at.map((x, k) => x + (h * raw[k]!) / norm),
      );
      return objective();
    };
    const h = 0.01;
    const near = (await shifted(h)) - (await shifted(-h));
    const far = (await shifted(2 * h)) - (await shifted(-2 * h));
    model.load(name, at);
    const numeric = (8 * near - far) / (12 * h);
    const analytic = g.reduce((s, x, k) => s + x * raw[k]!, 0) / norm;
    if (!(Math.abs(numeric - analytic) <= 2e-3 * Math.abs(analytic)))
      bad.push(`${name}: ${numeric} by differences, ${analytic} by gradient`);
  }
  expect(bad).toEqual([]);
  model.free();
});

test('layouts and checkpointing draw the same', async () => {
  for (const config of [gpt2({ ...dropout, vocabSize: 61 }), llama({ ...dropout, qkNorm: true })]) {
    const one = await run(makeRanks(ops(), config));
    const again = await run(makeRanks(ops(), config, {}, { gradientCheckpointing: true }));
    expect(again).toEqual(one);
    for (const layout of [
      { tensorParallelSize: 2 },
      { tensorParallelSize: 2, useSequenceParallel: true },
      { pipelineParallelSize: 2 },
    ]) {
      const many = await run(makeRanks(ops(), config, layout));
      expect(relativeError(many.logProbs, one.logProbs)).toBeLessThan(1e-5);
      expectTensorsClose(many.grads, one.grads, 2e-5);
    }
  }
});

async function step(config: ModelConfig, nMbs: number, noiseSeed: number | undefined) {
  const model = makeModel(ops(), config);
  const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 2 });
  const sample = tokensSample(config, lengths);
  const evaluated = await engine.evalBatch(sample, likelihood);
  const stats = await engine.trainBatch(sample, likelihood, {
    versionSteps: 0,
    nMbs,
    ...(noiseSeed === undefined ? {} : { noiseSeed }),
  });
  engine.free();
  model.free();
  const out: Stats = { ...stats, evaluated: evaluated.loss! };
  return out;
}

test('microbatches do not change what is drawn, seeds do; evaluation and the other algorithms drop nothing', async () => {
  const config = gpt2(dropout);
  const one = await step(config, 1, 5);
  const three = await step(config, 3, 5);
  expect(three.loss).toBeCloseTo(one.loss!, 5);
  expect(three.grad_norm! / one.grad_norm!).toBeCloseTo(1, 5);
  const other = await step(config, 1, 6);
  expect(Math.abs(other.loss! - one.loss!)).toBeGreaterThan(1e-3);
  // PPO, GRPO and DPO give no seed.
  const off = await step(config, 1, undefined);
  const plain = await step(gpt2(), 1, 5);
  expect(off).toEqual(plain);
  expect(one.evaluated).toBe(plain.loss);
});
