/** How much memory batches of varying sizes keep; on a device of its own, else earlier tests' buffers would hide growth. */
import { AdamEngine } from '@realhf/backends';
import { sftLoss } from '@realhf/model';
import { expect, test } from 'vitest';

import { adamConfig, llama, makeModel, tokensSample, uniform, useOps } from './harness.js';

const ops = useOps();

test('batches of other sizes reuse the memory of earlier ones', async () => {
  const config = llama();
  const model = makeModel(ops(), config);
  const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 20 });
  const u = uniform(3);
  const step = async (lengths: readonly number[]) => {
    await engine.trainBatch(tokensSample(config, lengths), sftLoss, { versionSteps: 0 });
    return ops().memory();
  };
  const largest = [30, 30, 30, 30];
  const { held } = await step(largest);
  let after = held;
  for (let i = 0; i < 12; i++)
    after = (await step(largest.map((l) => 15 + Math.floor(u() * (l - 14))))).held;
  // Buffers come in four sizes an octave, and some of each are kept: thirteen batches need not two times the first's.
  expect(after / held).toBeLessThan(2);
  engine.free();
  model.free();
});
