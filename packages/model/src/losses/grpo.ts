/**
 * GRPO (Shao et al., arXiv 2402.03300): PPO's clipped ratio with advantages of the group, and the k3 estimate of the KL
 * to the reference in the loss itself.
 */
import type { Loss } from '@realhf/api';

import { policyLoss, type PolicyLossOptions } from './policy.js';

export type GrpoLossOptions = Omit<PolicyLossOptions, 'name'>;

export function grpoLoss(o: GrpoLossOptions): Loss {
  return policyLoss({ ...o, name: 'grpo' });
}
