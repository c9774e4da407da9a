/**
 * Parameters that are larger than a device binds are kept in pieces of their rows: with a limit that is made small, models
 * give what they give without one: outputs, gradients, weights after Adam, greedy tokens, also cut over ranks.
 */
import { moeSchema, singleDevice, type ModelConfig, type Parallelism } from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import type { ReaLModel } from '@realhf/model';
import { expect, test } from 'vitest';

import {
  adamConfig,
  batchOf,
  expectTensorsClose,
  gpt2,
  llama,
  makeRanks,
  relativeError,
  tokensSample,
  useOps,
  wholeTensors,
} from './harness.js';
import { likelihood, release } from './parallel-suite.js';
import { reallocDifference } from './realloc-suite.js';

const ops = useOps();
const limit = 9_001;
const small = useOps('swiftshader', limit);

/** [config, layout, pieces of the vocabulary on a rank]. */
const cases: Record<string, [ModelConfig, Partial<Parallelism>, number]> = {
  'llama, its own head': [llama({ vocabSize: 317 }), {}, 5],
  'gpt2, tied, biases': [gpt2({ vocabSize: 131, hiddenDim: 28 }), {}, 3],
  'mixtral, some experts each': [
    llama({
      family: 'mixtral',
      vocabSize: 200,
      intermediateDim: 24,
      moe: moeSchema.parse({ numExperts: 5 }),
    }),
    {},
    4,
  ],
  'gpt2 on 2 × 2 ranks': [
    gpt2({ vocabSize: 301 }),
    { tensorParallelSize: 2, pipelineParallelSize: 2, useSequenceParallel: true },
    3,
  ],
  'llama, one kv head of two ranks': [
    llama({ nKvHeads: 1, headDim: 32, vocabSize: 262 }),
    { tensorParallelSize: 2 },
    3,
  ],
};

const greedy = {
  max_new_tokens: 5,
  min_new_tokens: 0,
  greedy: true,
  top_p: 1,
  top_k: 500,
  temperature: 1,
  force_no_logits_mask: true,
} as const;

/** Two steps of Adam, what they report, and greedy tokens of the trained model. */
async function learn(ranks: readonly ReaLModel[]) {
  const optimizer = adamConfig({ gradient_clipping: 0.05, lr: 1e-3, eps: 1e-3 });
  const engines = ranks.map((r) => new AdamEngine(r, { optimizer, totalSteps: 10 }));
  const sample = tokensSample(ranks[0]!.config, [6, 3, 5]);
  const stats = [];
  for (let step = 0; step < 2; step++)
    stats.push(
      (
        await Promise.all(
          engines.map((e) => e.trainBatch(sample, likelihood, { versionSteps: step, nMbs: 2 })),
        )
      )[0]!,
    );
  const prompts = sample.remapKeys({ packed_input_ids: 'packed_prompts' });
  const outs = await Promise.all(
    engines.map((e) =>
      e.generate(prompts, greedy, { eosTokenId: 1, padTokenId: null, seed: 1, nMbs: 1 }),
    ),
  );
  for (const e of engines) e.free();
  return { stats, tokens: outs[0]!.tokens };
}

test.each(Object.keys(cases))('%s', async (name) => {
  const [config, layout, pieces] = cases[name]!;
  const [one] = makeRanks(ops(), config);
  const cut = makeRanks(small(), config, layout);
  const first = cut[0]!;
  expect(first.locals.filter((p) => p.spec.name === '0.wte.weight').length).toBe(pieces);
  expect(Math.max(...first.params.map((p) => 4 * p.size))).toBeLessThanOrEqual(limit);
  const want = await learn([one!]);
  const got = await learn(cut);
  want.stats.forEach((s, i) => {
    for (const [k, v] of Object.entries(s))
      expect(Math.abs(got.stats[i]![k]! - v), k).toBeLessThan(1e-6 * Math.max(1, Math.abs(v)));
  });
  expectTensorsClose(await wholeTensors(cut, 'grads'), await wholeTensors([one!], 'grads'), 2e-6);
  expectTensorsClose(await wholeTensors(cut, 'params'), await wholeTensors([one!], 'params'), 1e-6);
  expect(got.tokens).toEqual(want.tokens);
  release(one!, ...cut);
});

test('log-probs and logits are the same bits as in one piece', async () => {
  const config = llama({ vocabSize: 200 });
  const sample = tokensSample(config, [6, 3, 2]);
  const batch = batchOf(sample);
  const outputs = [];
  for (const o of [ops(), small()]) {
    const [model] = makeRanks(o, config);
    const pass = await model!.forward(batch, { train: false, logits: true, entropy: true });
    outputs.push(pass.output!);
    release(model!);
  }
  expect(outputs[1]).toEqual(outputs[0]);
  expect(relativeError(outputs[1]!.logits!, outputs[0]!.logits!)).toBe(0);
});

const medium = useOps('swiftshader', 24_007);

test('reallocation between layouts whose pieces differ, of less than 64 rows', async () => {
  const config = llama({ vocabSize: 317, hiddenDim: 96, headDim: 24, nKvHeads: 4 });
  const to = { ...singleDevice, tensorParallelSize: 2, pipelineParallelSize: 2 };
  for (const [a, b] of [
    [singleDevice, to],
    [to, singleDevice],
  ] as const) {
    const c = { from: a, to: b, shift: 1, eta: 0.25, maxElements: 6000 };
    expect(await reallocDifference(medium(), config, config, c)).toBeUndefined();
  }
});
