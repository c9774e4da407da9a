/** Frozen models that are the weights beside which another role trains an adapter: they need no copy of their own. */
import { hasLora } from '../options/schemas/lora.js';
import type { RoleSpec } from './spec.js';

/** Whether a role is only run. */
export function isFrozen({ optimizer }: RoleSpec): boolean {
  return optimizer === undefined;
}

/** The role whose adapter is on the weights of `role`, a frozen one; undefined where it has weights of its own. */
export function adapterOwner(roles: readonly RoleSpec[], role: RoleSpec): RoleSpec | undefined {
  if (!isFrozen(role)) return undefined;
  const source = ({ isCritic, options, seed }: RoleSpec) => {
    const { path, config, init_from_scratch: fresh, init_critic_from_actor: head } = options;
    // Only what is drawn depends on the seed.
    return JSON.stringify([isCritic, path, config, fresh, head, fresh || head ? seed : 0]);
  };
  return roles.find((r) => hasLora(r.options.lora) && source(r) === source(role));
}
