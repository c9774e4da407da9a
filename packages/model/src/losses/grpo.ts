/**
 * GRPO (Shao et al., arXiv 2402.03300): PPO's clipped ratio with advantages of the group, and the k3 estimate of the KL
 * to the reference in the loss itself.
 */
import type { Loss } from '@realhf/api';

import { policyLoss, type PolicyLossOptions } from './policy.js';

/** Options of grpoLoss: those of the policy loss. */
export type GrpoLossOptions = Omit<PolicyLossOptions, 'name'>;

/** The policy loss under GRPO's name. */
export function grpoLoss(o: GrpoLossOptions): Loss {
  return policyLoss({ ...o, name: 'grpo' });
}
