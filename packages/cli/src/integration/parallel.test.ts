/** Tensor and pipeline parallel models equal the model on one rank; generation and data parallel training too. */
import type { Parallelism, SequenceSample } from '@realhf/api';
import { AdamEngine, NetworkEngine } from '@realhf/backends';
import type { ReaLModel } from '@realhf/model';
import { expect, test } from 'vitest';

import {
  adamConfig,
  expectTensorsClose,
  makeRanks,
  relativeError,
  tokensSample,
  useOps,
  wholeTensors,
} from './harness.js';
import { configs, likelihood, parallelSuite, release } from './parallel-suite.js';

const ops = useOps();
const names = ['llama', 'llama3 with shared kv heads', 'gpt2', 'gpt2 critic'];

parallelSuite(ops, { tensorParallelSize: 2 }, names);
parallelSuite(ops, { pipelineParallelSize: 2 }, names);
parallelSuite(ops, { tensorParallelSize: 2, useSequenceParallel: true }, ['llama', 'gpt2']);

const generationLayouts: [string, Partial<Parallelism>][] = [
  ['llama', { tensorParallelSize: 2 }],
  ['llama3 with shared kv heads', { tensorParallelSize: 2 }],
  ['gpt2', { tensorParallelSize: 2 }],
  ['llama', { pipelineParallelSize: 2 }],
  ['llama3 with shared kv heads', { pipelineParallelSize: 3 }],
  ['gpt2', { pipelineParallelSize: 2, tensorParallelSize: 2, useSequenceParallel: true }],
];
test.each(generationLayouts)('%s in %j generates the tokens of one rank', async (name, layout) => {
  const config = configs[name]!;
  const one = makeRanks(ops(), config);
  const many = makeRanks(ops(), config, layout);
  // Five prompts on two or three stages: two microbatches, or three; and one that ends at once.
  for (const [lengths, greedy, more] of [
    [[4, 6, 3, 5, 2], true, {}],
    [[4, 6, 3, 5, 2], false, { nMbs: 4 }],
    [[5], false, {}],
  ] as const) {
    const prompts = tokensSample(config, lengths).remapKeys({ packed_input_ids: 'packed_prompts' });
    const generate = (ranks: readonly ReaLModel[]) =>
      Promise.all(
        ranks.map((r) =>
          new NetworkEngine(r).generate(
            prompts,
            {
              max_new_tokens: 9,
              min_new_tokens: 2,
              greedy,
              top_p: 1,
              top_k: 20,
              temperature: 1,
              force_no_logits_mask: greedy,
            },
            { eosTokenId: 1, padTokenId: null, seed: 3, ...more },
          ),
        ),
      );
    const want = (await generate(one))[0]!;
    for (const got of await generate(many)) {
      expect(got.tokens).toEqual(want.tokens);
      expect(got.noEos).toEqual(want.noEos);
      expect(got.masks).toEqual(want.masks);
      want.logProbs.forEach((w, s) => {
        expect(relativeError(got.logProbs[s]!, w)).toBeLessThan(1e-5);
      });
    }
  }
  release(...one, ...many);
});

test('dp=2 on halves of a batch makes the step of one rank on all of it', async () => {
  const config = configs.llama!;
  const sample = tokensSample(config, [7, 5, 9, 4]);
  const optimizer = adamConfig({ gradient_clipping: 0.05, eps: 1e-3 });
  const step = (ranks: readonly ReaLModel[], parts: readonly SequenceSample[]) =>
    Promise.all(
      ranks.map((r, i) =>
        new AdamEngine(r, { optimizer, totalSteps: 4 }).trainBatch(parts[i]!, likelihood, {
          versionSteps: 0,
        }),
      ),
    );
  const one = makeRanks(ops(), config);
  const many = makeRanks(ops(), config, { dataParallelSize: 2 });
  const [want] = await step(one, [sample]);
  // Unequal token counts: means must be over all tokens, not over ranks.
  for (const got of await step(many, [sample.slice(0, 3), sample.slice(3, 4)]))
    for (const [k, v] of Object.entries(want!)) expect(got[k]).toBeCloseTo(v, 5);
  expectTensorsClose(await wholeTensors(many, 'params'), await wholeTensors(one, 'params'), 1e-5);
  release(...one, ...many);
});

test.each([
  { tensorParallelSize: 2 },
  { pipelineParallelSize: 2 },
  { tensorParallelSize: 4, pipelineParallelSize: 2 },
])('a seed makes the same parameters in layout %j', async (layout) => {
  for (const name of names) {
    const one = makeRanks(ops(), configs[name]!, {}, { params: new Map() });
    const many = makeRanks(ops(), configs[name]!, layout, { params: new Map() });
    for (const r of [...one, ...many]) r.init(11);
    expect(await wholeTensors(many, 'params')).toEqual(await wholeTensors(one, 'params'));
    release(...one, ...many);
  }
});
