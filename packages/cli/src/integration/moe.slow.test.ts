/** Mixtures of experts: gradients of the other variants, and what the balancing loss is for. */
import { AdamEngine } from '@realhf/backends';
import { expect, test } from 'vitest';

import { adamConfig, makeModel, tokensSample, useOps } from './harness.js';
import { checkMoeGradient, mixtral } from './moe-suite.js';
import { likelihood } from './parallel-suite.js';

const ops = useOps();

test.each([
  ['top 1 of 6', 5],
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
