/** The interfaces that every process of a run knows: those of @realhf/model, and those that need Node. */
import { interfaces } from '@realhf/api';
import { registerInterfaces } from '@realhf/model';

import { makeEnvironment } from '../rewards/environment.js';
import { makeExternalReward } from '../rewards/external-reward.js';

/** Again does nothing. */
export function registerAllInterfaces(): void {
  registerInterfaces();
  interfaces.register('external_reward', makeExternalReward);
  interfaces.register('environment', makeEnvironment);
}
