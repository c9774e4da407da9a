import { optimizerSchema, type OptimizerConfig } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { learningRate } from './lr-schedule.js';

const config = (o: Partial<OptimizerConfig>) => optimizerSchema.parse({ lr: 2, ...o });
const whole = (o: Partial<OptimizerConfig>, total: number) =>
  Array.from({ length: total + 1 }, (_, step) => learningRate(config(o), step, total));

describe('learningRate', () => {
  it('warms up linearly to lr over ⌊proportion · T⌋ steps', () => {
    const rates = whole({ warmup_steps_proportion: 0.45, lr_scheduler_type: 'constant' }, 10);
    expect(rates).toEqual([0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 2, 2]);
  });

  it.each(['cosine', 'linear'] as const)(
    'defect 15: %s decay begins after the warm-up and reaches its end at step T, not before',
    (lr_scheduler_type) => {
      const run = { lr_scheduler_type, warmup_steps_proportion: 0.2, min_lr_ratio: 0.1 };
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 500 }), (total) => {
          const rates = whole(run, total);
          const peak = Math.floor(0.2 * total);
          expect(rates[peak]).toBeCloseTo(2, 12);
          expect(rates[total]).toBeCloseTo(0.2, 12);
          for (let t = peak; t < total; t++) {
            expect(rates[t + 1]!).toBeLessThan(rates[t]!);
            expect(rates[t]!).toBeGreaterThan(0.2 + 1e-9);
          }
          expect(learningRate(config(run), total + 5, total)).toBeCloseTo(0.2, 12);
        }),
        { seed: 1, numRuns: 50 },
      );
    },
  );

  it('is half way down half way through', () => {
    for (const lr_scheduler_type of ['cosine', 'linear'] as const) {
      const run = { lr_scheduler_type, warmup_steps_proportion: 0.5, min_lr_ratio: 0 };
      expect(learningRate(config(run), 15, 20)).toBeCloseTo(1, 12);
    }
    const cosine = { lr_scheduler_type: 'cosine', warmup_steps_proportion: 0 } as const;
    expect(learningRate(config(cosine), 5, 20)).toBeCloseTo(1 + Math.SQRT1_2, 12);
  });

  it('may be all warm-up', () => {
    expect(whole({ warmup_steps_proportion: 1 }, 4).slice(0, 4)).toEqual([0.5, 1, 1.5, 2]);
  });
});
