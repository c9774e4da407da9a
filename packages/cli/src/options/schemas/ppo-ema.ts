/** `real ppo-ema` (reference: A10): PPO whose reference follows the actor. */
import { z } from 'zod';

import { checkCommon, checks } from './common.js';
import { hasLora } from './lora.js';
import { checkPpo, ppoObject } from './ppo.js';

const ppoEmaObject = ppoObject.extend({
  ref_ema_eta: z
    .number()
    .gt(0)
    .max(1)
    .default(0.001)
    .describe('after every training of the actor: ref = eta · actor + (1 − eta) · ref'),
});

/** Options of `real ppo-ema`. */
export type PpoEmaConfig = z.infer<typeof ppoEmaObject>;

/** Schema of the options of `real ppo-ema`. */
export const ppoEmaSchema = ppoEmaObject.superRefine(
  checks<PpoEmaConfig>(checkCommon, checkPpo, ({ actor }, report) => {
    if (hasLora(actor.lora))
      report(['actor', 'lora'], 'a reference can follow whole weights only; use real ppo');
  }),
);
