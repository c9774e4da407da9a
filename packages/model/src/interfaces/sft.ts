/** Interface `sft`: supervised fine-tuning on packed_input_ids and prompt_mask. */
import type { InterfaceCall, Model, ModelInterface, SequenceSample, Stats } from '@realhf/api';

import { sftLoss } from '../losses/sft.js';
import { evaluateLoss, samplingSeed, trainable } from './common.js';

/** Supervised fine-tuning on the tokens outside of the prompt. */
export class SftInterface implements ModelInterface {
  trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    return trainable(model).trainBatch(input, sftLoss, {
      versionSteps: model.version.globalStep,
      noiseSeed: samplingSeed(model),
      ...call,
    });
  }
  evaluate(
    model: Model,
    batches: AsyncIterable<SequenceSample> | Iterable<SequenceSample>,
  ): Promise<Stats> {
    return evaluateLoss(model, batches, sftLoss);
  }
}
