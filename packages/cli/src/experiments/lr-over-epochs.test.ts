/** The learning rate over a run of several epochs: a schedule as long as the run, not longer by the number of epochs. */
import { optimizerSchema } from '@realhf/api';
import { learningRate } from '@realhf/backends';
import { expControlSchema, planRun } from '@realhf/dataflow';
import { expect, it } from 'vitest';

it.each([1, 2, 7])('defect 15: over %i epochs the rate ends with the run', (epochs) => {
  const control = expControlSchema.parse({ total_train_epochs: epochs });
  // 10 records in batches of 4: the rest of an epoch is dropped.
  const { totalSteps } = planRun(10, 4, control);
  expect(totalSteps).toBe(2 * epochs);
  const linear = optimizerSchema.parse({
    ...{ lr: 1, lr_scheduler_type: 'linear', warmup_steps_proportion: 0 },
  });
  const rates = Array.from({ length: totalSteps + 1 }, (_, s) =>
    learningRate(linear, s, totalSteps),
  );
  expect(rates.map((r) => Number(r.toFixed(9)))).toEqual(
    rates.map((_, s) => Number((1 - s / totalSteps).toFixed(9))),
  );
});
