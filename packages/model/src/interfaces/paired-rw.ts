/** Interface `paired_rw`: trains a reward model on preference pairs; inference gives `rewards`, one per sequence, NumericError where one is not finite. */
import {
  SequenceSample,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';
import { z } from 'zod';

import { pairedRewardLoss } from '../losses/paired-rw.js';
import { assertFinite } from '../ppo/finite.js';
import { evaluateLoss, samplingSeed, trainable } from './common.js';

export const pairedRewardOptionsSchema = z.object({
  enable_save: z.boolean().default(true),
  output_scaling: z.number().default(1),
  output_bias: z.number().default(0),
});

/** Trains a reward model on pairs and scores answers with it. */
export class PairedRewardInterface implements ModelInterface {
  private readonly options: z.infer<typeof pairedRewardOptionsSchema>;
  readonly enableSave: boolean;

  constructor(options: z.input<typeof pairedRewardOptionsSchema> = {}) {
    this.options = pairedRewardOptionsSchema.parse(options);
    this.enableSave = this.options.enable_save;
  }

  async inference(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const values = await model.engine.values(input, call);
    const cu = input.cuSeqlens('packed_input_ids');
    const { output_scaling: scaling, output_bias: bias } = this.options;
    const rewards = Float32Array.from(
      { length: cu.length - 1 },
      (_, s) => (values[cu[s + 1]! - 1]! - bias) * scaling,
    );
    const seqlens = {
      rewards: input.seqlens.packed_input_ids!.map((item) => item.map(() => 1)),
    };
    const out = new SequenceSample({
      ids: input.ids,
      seqlens,
      data: { rewards },
      dtypes: { rewards: 'f32' },
      trailingShapes: { rewards: [] },
    });
    assertFinite(out, 'rewards');
    return out;
  }
  trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    return trainable(model).trainBatch(input, pairedRewardLoss, {
      versionSteps: model.version.globalStep,
      noiseSeed: samplingSeed(model),
      ...call,
    });
  }
  evaluate(
    model: Model,
    batches: AsyncIterable<SequenceSample> | Iterable<SequenceSample>,
  ): Promise<Stats> {
    return evaluateLoss(model, batches, pairedRewardLoss);
  }
}
