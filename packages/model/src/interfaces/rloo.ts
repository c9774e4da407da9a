/**
 * Interface `rloo` (Ahmadian et al., arXiv 2402.14740): an answer is one action; its baseline is the mean score of the
 * other answers to the prompt, its KL to the reference is taken off its score.
 */
import { z } from 'zod';

import { policyLossShape, policyLossOptions } from '../ppo/policy-options.js';
import { rlooOptionsSchema } from '../rloo/options.js';
import { GroupPolicyInterface } from './group-policy.js';

const schema = rlooOptionsSchema.extend({
  enable_save: z.boolean().default(true),
  /** Emit packed_logits_mask at generation, unless gen.force_no_logits_mask. */
  logits_mask: z.boolean().default(true),
});

/** Options of RlooInterface. */
export type RlooInterfaceOptions = z.input<typeof schema>;

const others = z.object(policyLossShape).parse({});

/** RLOO: REINFORCE whose baseline is the mean of the other answers. */
export class RlooInterface extends GroupPolicyInterface {
  constructor(options: RlooInterfaceOptions = {}) {
    const o = schema.parse(options);
    const { max_reward_clip, adv_norm, mask_truncated_completions } = o;
    super({
      gen: o.gen,
      groupSize: o.group_size,
      nMinibatches: o.ppo_n_minibatches,
      enableSave: o.enable_save,
      logitsMask: o.logits_mask,
      prepare: {
        ...{ max_reward_clip, adv_norm, mask_truncated_completions },
        discount: 1,
        baseline: 'leave_one_out',
        klInReward: { klCtl: o.kl_ctl, estimator: o.kl_estimator },
      },
      loss: {
        ...policyLossOptions({ ...others, ...o }, { klInLoss: 0 }),
        name: 'rloo',
        objective: o.policy_loss,
        ratioLevel: 'product',
        // Each a mean over answers: of A · Σ log π, and of the surrogate, which is the same for all its tokens.
        averaging: o.policy_loss === 'reinforce' ? 'sum' : 'sequence',
      },
    });
  }
}
