/** Interface `grpo`: answers judged against the mean of their group, updated by the clipped ratio. */
import { z } from 'zod';

import { grpoOptionsSchema } from '../grpo/options.js';
import { policyLossOptions } from '../ppo/policy-options.js';
import { GroupPolicyInterface } from './group-policy.js';

const schema = grpoOptionsSchema.extend({
  enable_save: z.boolean().default(true),
  /** Emit packed_logits_mask at generation, unless gen.force_no_logits_mask. */
  logits_mask: z.boolean().default(true),
});

/** Options of GrpoInterface. */
export type GrpoInterfaceOptions = z.input<typeof schema>;

/** GRPO: groups of answers to a prompt, judged against each other. */
export class GrpoInterface extends GroupPolicyInterface {
  constructor(options: GrpoInterfaceOptions = {}) {
    const o = schema.parse(options);
    const { discount, max_reward_clip, scale_rewards, adv_norm, mask_truncated_completions } = o;
    super({
      gen: o.gen,
      groupSize: o.group_size,
      nMinibatches: o.ppo_n_minibatches,
      enableSave: o.enable_save,
      logitsMask: o.logits_mask,
      prepare: {
        ...{ discount, max_reward_clip, scale_rewards, adv_norm, mask_truncated_completions },
        ...(o.use_kl_in_reward
          ? { klInReward: { klCtl: o.kl_ctl, estimator: o.kl_estimator } }
          : {}),
      },
      loss: {
        ...policyLossOptions(o, { klInLoss: o.use_kl_in_reward ? 0 : o.kl_ctl }),
        name: 'grpo',
      },
    });
  }
}
