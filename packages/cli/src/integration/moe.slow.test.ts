/** Mixtures of experts: gradients of the other variants, and what the balancing loss is for. */
import { AdamEngine, NetworkEngine } from '@realhf/backends';
import { expect, test } from 'vitest';

import {
  adamConfig,
  makeModel,
  makeRanks,
  relativeError,
  tokensSample,
  useOps,
} from './harness.js';
import { checkMoeGradient, mixtral } from './moe-suite.js';
import { likelihood, release } from './parallel-suite.js';

const ops = useOps();

test.each([
  ['top 1 of 8', 8],
  ['capacity by weight', 5],
  ['capacity by position', 6],
  ['sinkhorn top 2, jitter, dropout', 5],
  ['sinkhorn top 1', 8],
] as const)('gradient of %s', (name, seed) => checkMoeGradient(ops(), name, seed));

test('the balancing loss balances', async () => {
  const config = mixtral({ auxLossCoeff: 1 });
  const model = makeModel(ops(), config);
  const engine = new AdamEngine(model, { optimizer: adamConfig({ lr: 5e-3 }), totalSteps: 30 });
  const loads: number[] = [];
  for (let step = 0; step < 30; step++) {
    const s = await engine.trainBatch(tokensSample(config, [30, 30]), likelihood, {
      versionSteps: step,
    });
    loads.push(s.moe_aux_loss!);
  }
  // 1 per layer is balance.
  expect(loads.at(-1)! - config.nLayers).toBeLessThan((loads[0]! - config.nLayers) / 2);
  engine.free();
  model.free();
});

test('layouts generate the same', async () => {
  const config = mixtral({});
  const prompts = tokensSample(config, [3, 6, 2, 5]).remapKeys({
    packed_input_ids: 'packed_prompts',
  });
  const generate = async (layout: Parameters<typeof makeRanks>[2]) => {
    const ranks = makeRanks(ops(), config, layout);
    const outs = await Promise.all(
      ranks.map((r) =>
        new NetworkEngine(r).generate(
          prompts,
          {
            max_new_tokens: 8,
            min_new_tokens: 0,
            greedy: false,
            top_p: 0.9,
            top_k: 40,
            temperature: 1,
            force_no_logits_mask: true,
          },
          { eosTokenId: 1, padTokenId: null, seed: 3 },
        ),
      ),
    );
    release(...ranks);
    return outs;
  };
  const [want] = await generate({});
  for (const layout of [{ tensorParallelSize: 2 }, { pipelineParallelSize: 2 }])
    for (const got of await generate(layout)) {
      expect(got.tokens).toEqual(want!.tokens);
      got.logProbs.forEach((p, s) => {
        expect(relativeError(p, want!.logProbs[s]!)).toBeLessThan(1e-5);
      });
    }
});
