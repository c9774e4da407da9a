/** DPO on held-out pairs: the reference's log-probs of the answers, then loss, accuracy and margin of the actor. */
import { modelKey, type SequenceSample } from '@realhf/api';
import { DpoInterface, type DpoInterfaceOptions } from '@realhf/model';

import type { JointEvaluation } from './joint-evaluation.js';

/** Roles actor and ref. */
export function dpoEvaluation(options: DpoInterfaceOptions): JointEvaluation {
  const dpo = new DpoInterface(options);
  return async (model, batches) => {
    async function* withReference(): AsyncGenerator<SequenceSample> {
      for (const batch of batches) {
        const both = batch.select([...batch.keys]);
        both.update(await dpo.inference(model('ref'), batch, {}));
        yield both;
      }
    }
    const actor = model('actor');
    return { [modelKey(actor.name)]: await dpo.evaluate(actor, withReference()) };
  };
}
