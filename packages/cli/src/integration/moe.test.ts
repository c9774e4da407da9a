/**
 * Mixtures of experts in whole models: gradients against finite differences with the auxiliary losses, layouts against
 * one rank, stats, capacity, and generation against recomputation.
 */
import type { MoeStats } from '@realhf/api';
import { AdamEngine, NetworkEngine } from '@realhf/backends';
import type { ReaLModel } from '@realhf/model';
import { describe, expect, test } from 'vitest';

import {
  adamConfig,
  batchOf,
  expectTensorsClose,
  makeModel,
  makeRanks,
  normal,
  relativeError,
  tokensSample,
  useOps,
  wholeTensors,
} from './harness.js';
import { checkMoeGradient, lengths, mixtral, noise, objective, variants } from './moe-suite.js';
import { likelihood, release } from './parallel-suite.js';

const ops = useOps();

test('gradient of every parameter along a direction', () => checkMoeGradient(ops(), 'top 2'));

describe.each(Object.entries(variants))('%s', (_, config) => {
  test('checkpointing gives the same bits', async () => {
    const grads = [];
    for (const gradientCheckpointing of [false, true]) {
      const model = makeModel(ops(), config, { gradientCheckpointing });
      await objective(model, true);
      grads.push(await wholeTensors([model], 'grads'));
      model.free();
    }
    expect(grads[1]).toEqual(grads[0]);
  });
});

test.each([{ tensorParallelSize: 2 }, { pipelineParallelSize: 2 }])(
  'layout %j: outputs, gradients and stats',
  async (layout) => {
    for (const name of ['top 2', 'sinkhorn top 2, jitter, dropout'] as const) {
      const config = variants[name]!;
      const run = async (ranks: readonly ReaLModel[]) => {
        const sample = tokensSample(config, lengths);
        const all = await Promise.all(
          ranks.map(async (model) => {
            const stats: MoeStats[] = [];
            const pass = await model.forward(batchOf(sample), {
              train: true,
              auxWeight: 0.7,
              ...noise,
              onMoeStats: (s) => stats.push(s),
            });
            const d = normal(
              lengths.reduce((n, l) => n + l - 1, 0),
              4,
            );
            await pass.backward(pass.output && { dLogProbs: d });
            await model.finishGradients();
            return { output: pass.output, stats: stats[0]! };
          }),
        );
        const grads = await wholeTensors(ranks, 'grads');
        release(...ranks);
        return { all, grads };
      };
      const one = await run(makeRanks(ops(), config));
      const many = await run(makeRanks(ops(), config, layout));
      const logProbs = many.all.at(-1)!.output!.logProbs!;
      expect(relativeError(logProbs, one.all[0]!.output!.logProbs!)).toBeLessThan(1e-5);
      expectTensorsClose(many.grads, one.grads, 2e-5);
      const stages = 'pipelineParallelSize' in layout ? many.all : many.all.slice(0, 1);
      const aux = stages.reduce((s, r) => s + r.stats.auxLoss, 0);
      expect(aux).toBeCloseTo(one.all[0]!.stats.auxLoss, 5);
    }
  },
);

test('sequence parallelism: padding is no expert’s', async () => {
  const config = variants['capacity by position']!;
  const grads = [];
  for (const useSequenceParallel of [false, true]) {
    const layout = useSequenceParallel ? { tensorParallelSize: 2, useSequenceParallel } : {};
    const ranks = makeRanks(ops(), config, layout);
    await Promise.all(
      ranks.map(async (model) => {
        const pass = await model.forward(batchOf(tokensSample(config, lengths)), {
          train: true,
          auxWeight: 1,
        });
        await pass.backward({ dLogProbs: normal(18, 4) });
        await model.finishGradients();
      }),
    );
    grads.push(await wholeTensors(ranks, 'grads'));
    release(...ranks);
  }
  expectTensorsClose(grads[1]!, grads[0]!, 2e-5);
});

describe('engine', () => {
  test('stats of routers; the gradient norm does not depend on microbatches without the balancing loss', async () => {
    const config = mixtral({ auxLossCoeff: 0, zLossCoeff: 0.1 });
    const stats = [];
    for (const nMbs of [1, 3]) {
      const model = makeModel(ops(), config);
      const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 2 });
      stats.push(
        await engine.trainBatch(tokensSample(config, lengths), likelihood, {
          versionSteps: 0,
          nMbs,
        }),
      );
      engine.free();
      model.free();
    }
    const [one, three] = [stats[0]!, stats[1]!];
    expect(one).toMatchObject({ moe_aux_loss: 0, moe_drop_fraction: 0 });
    expect(one.moe_max_load).toBeGreaterThanOrEqual(1);
    expect(one.moe_z_loss).toBeGreaterThan(0);
    expect(three.moe_z_loss).toBeCloseTo(one.moe_z_loss!, 5);
    expect(three.grad_norm).toBeCloseTo(one.grad_norm!, 4);
  });

  test('data-parallel ranks weigh auxiliary losses as microbatches do', async () => {
    const config = mixtral({ auxLossCoeff: 0.5, zLossCoeff: 0.1, capacityFactor: 0.8 });
    const sample = tokensSample(config, [7, 5, 9, 4]);
    const step = (ranks: readonly ReaLModel[], nMbs: number) =>
      Promise.all(
        ranks.map((model) => {
          const { dp } = model.groups.coordinates;
          const part = nMbs > 1 ? sample : sample.slice(2 * dp, 2 * dp + 2);
          const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 2 });
          return engine.trainBatch(part, likelihood, { versionSteps: 0, nMbs });
        }),
      );
    const one = makeRanks(ops(), config);
    const [want] = await step(one, 2);
    expect(want!.moe_drop_fraction).toBeGreaterThan(0);
    for (const layout of [{}, { pipelineParallelSize: 2 }]) {
      const many = makeRanks(ops(), config, { dataParallelSize: 2, ...layout });
      for (const got of await step(many, 1)) {
        expect(Object.keys(got).sort()).toEqual(Object.keys(want!).sort());
        for (const [k, v] of Object.entries(want!)) expect(got[k], k).toBeCloseTo(v, 4);
      }
      release(...many);
    }
    release(...one);
  });

  test('a sampled log-prob is the recomputed one, to the bit', async () => {
    const config = mixtral({ capacityFactor: 0.5 });
    const model = makeModel(ops(), config);
    const engine = new NetworkEngine(model);
    const sample = tokensSample(config, [3, 6]);
    const out = await engine.generate(
      sample.remapKeys({ packed_input_ids: 'packed_prompts' }),
      {
        max_new_tokens: 8,
        min_new_tokens: 8,
        greedy: false,
        top_p: 1,
        top_k: config.vocabSize,
        temperature: 1,
        force_no_logits_mask: true,
      },
      { eosTokenId: null, padTokenId: null, seed: 3 },
    );
    for (const [i, length] of [3, 6].entries()) {
      const prompt = sample.slice(i, i + 1).i32('packed_input_ids');
      const tokens = Int32Array.from([...prompt, ...out.tokens[i]!]);
      const pass = await model.forward(
        { tokens, cuSeqlens: Int32Array.of(0, tokens.length) },
        { train: false },
      );
      expect(pass.output!.logProbs!.slice(length - 1)).toEqual(out.logProbs[i]);
      pass.release();
    }
    model.free();
  });
});
