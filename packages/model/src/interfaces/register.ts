/** Puts the built-in interfaces into api's registry; call once per process. */
import { interfaces } from '@realhf/api';

import { DpoInterface } from './dpo.js';
import { GrpoInterface } from './grpo.js';
import { PairedRewardInterface } from './paired-rw.js';
import { PpoActorInterface } from './ppo-actor.js';
import { PpoCriticInterface } from './ppo-critic.js';
import { RaftInterface } from './raft.js';
import { RemaxInterface } from './remax.js';
import { RlooInterface } from './rloo.js';
import { SftInterface } from './sft.js';
import { SimpoInterface } from './simpo.js';

const builtIn = {
  sft: () => new SftInterface(),
  paired_rw: (args: Readonly<Record<string, unknown>>) => new PairedRewardInterface(args),
  dpo: (args: Readonly<Record<string, unknown>>) => new DpoInterface(args),
  grpo: (args: Readonly<Record<string, unknown>>) => new GrpoInterface(args),
  rloo: (args: Readonly<Record<string, unknown>>) => new RlooInterface(args),
  remax: (args: Readonly<Record<string, unknown>>) => new RemaxInterface(args),
  raft: (args: Readonly<Record<string, unknown>>) => new RaftInterface(args),
  simpo: (args: Readonly<Record<string, unknown>>) => new SimpoInterface(args),
  ppo_actor: (args: Readonly<Record<string, unknown>>) => new PpoActorInterface(args),
  ppo_critic: (args: Readonly<Record<string, unknown>>) => new PpoCriticInterface(args),
};

/** Registers sft, paired_rw, dpo, simpo, grpo, rloo, remax, raft, ppo_actor and ppo_critic; again does nothing. */
export function registerInterfaces(): void {
  for (const [name, factory] of Object.entries(builtIn)) interfaces.register(name, factory);
}
