/** Interface `simpo` (arXiv 2405.14734): one step on a batch of preference pairs, without a reference model. */
import type {
  InterfaceCall,
  Loss,
  Model,
  ModelInterface,
  SequenceSample,
  Stats,
} from '@realhf/api';
import { z } from 'zod';

import { simpoLoss } from '../losses/simpo.js';
import { evaluateLoss, trainable } from './common.js';
import { dpoOptionsSchema } from './dpo.js';

/** Schema of the options of SimPO. */
export const simpoOptionsSchema = z.object({
  beta: z.number().positive().default(2).describe('scale of the mean log-probs of answers'),
  simpo_gamma: z
    .number()
    .nonnegative()
    .default(1)
    .describe('margin by which the better answer should lead'),
  label_smoothing: dpoOptionsSchema.shape.label_smoothing
    .unwrap()
    .default(0)
    .describe('probability that a preference is wrong'),
});
const schema = simpoOptionsSchema.extend({ enable_save: z.boolean().default(true) });

/** Options of SimpoInterface. */
export type SimpoInterfaceOptions = z.input<typeof schema>;

/** SimPO: preferences without a reference. */
export class SimpoInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;

  constructor(options: SimpoInterfaceOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
  }

  trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    return trainable(model).trainBatch(input, this.loss(), {
      versionSteps: model.version.globalStep,
      ...call,
    });
  }

  evaluate(
    model: Model,
    batches: AsyncIterable<SequenceSample> | Iterable<SequenceSample>,
  ): Promise<Stats> {
    return evaluateLoss(model, batches, this.loss());
  }

  private loss(): Loss {
    const { beta, simpo_gamma: gamma, label_smoothing: labelSmoothing } = this.options;
    return simpoLoss({ beta, gamma, labelSmoothing });
  }
}
