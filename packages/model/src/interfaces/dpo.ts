/** Interface `dpo`: inference gives the reference's `seqlogp`, one per sequence; a train step is one step on a batch of pairs. */
import {
  SequenceSample,
  type InterfaceCall,
  type Loss,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';
import { z } from 'zod';

import { answerLogProbs, dpoLoss, pairAnswerMask } from '../losses/dpo.js';
import { assertFinite } from '../ppo/finite.js';
import { evaluateLoss, trainable } from './common.js';

/** DPO's options (reference: A3). Keys keep the field's spelling: they are command-line options. */
export const dpoOptionsSchema = z.object({
  beta: z
    .number()
    .positive()
    .default(0.1)
    .describe('strength of the pull to the reference: a small one lets the policy move far'),
  loss_type: z
    .enum(['sigmoid', 'ipo'])
    .default('sigmoid')
    .describe('sigmoid: DPO; ipo: squared distance of the margin from 1/(2·beta)'),
  label_smoothing: z
    .number()
    .min(0)
    .lt(0.5)
    .default(0)
    .describe('probability that a preference is wrong (conservative DPO; sigmoid only)'),
});
const schema = dpoOptionsSchema
  .extend({ enable_save: z.boolean().default(true) })
  .refine((o) => o.loss_type === 'sigmoid' || o.label_smoothing === 0, {
    message: 'label_smoothing belongs to loss_type=sigmoid; leave it out',
    path: ['label_smoothing'],
  });

/** Options of DpoInterface. */
export type DpoInterfaceOptions = z.input<typeof schema>;

/** DPO: log-probs of the reference, and the train step. */
export class DpoInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;

  constructor(options: DpoInterfaceOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
  }

  /** Throws NumericError naming the item where a sum is not finite. */
  async inference(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    // Log-probs of the whole input, however many microbatches the engine made of it.
    const logProbs = await model.engine.logProbs(input, { ...call, needed: pairAnswerMask });
    const out = new SequenceSample({
      ids: input.ids,
      seqlens: { seqlogp: input.seqlens.packed_input_ids!.map((item) => item.map(() => 1)) },
      data: { seqlogp: answerLogProbs(input, logProbs) },
      dtypes: { seqlogp: 'f32' },
      trailingShapes: { seqlogp: [] },
    });
    assertFinite(out, 'seqlogp');
    return out;
  }

  trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    return trainable(model).trainBatch(input, this.loss(), {
      versionSteps: model.version.globalStep,
      ...call,
    });
  }

  /** Batches with the reference's `seqlogp`. */
  evaluate(
    model: Model,
    batches: AsyncIterable<SequenceSample> | Iterable<SequenceSample>,
  ): Promise<Stats> {
    return evaluateLoss(model, batches, this.loss());
  }

  private loss(): Loss {
    const { beta, loss_type: lossType, label_smoothing: labelSmoothing } = this.options;
    return dpoLoss({ beta, lossType, labelSmoothing });
  }
}
