/** Parameters that change without an optimizer, by a hook: a checkpoint must hold them too. */
import type { MFCDef, Ops, Tensor } from '@realhf/api';
import type { TrainState } from '@realhf/backends';

interface Network {
  readonly ops: Ops;
  readonly params: readonly Tensor[];
}

/** Roles that the hooks of other roles' calls write to. */
export function movedRoles(mfcs: readonly MFCDef[]): ReadonlySet<string> {
  const roles = new Set<string>();
  for (const { model, preHooks, postHooks } of mfcs)
    for (const hook of [...(preHooks ?? []), ...(postHooks ?? [])]) {
      if (hook.type !== 'param_realloc') continue;
      const target = hook.target ?? model;
      if ((hook.source ?? model).role !== target.role) roles.add(target.role);
    }
  return roles;
}

/** As a part of a checkpoint: parameters without moments. */
export class MovedParams {
  private readonly network: () => Network;
  /** `network` is asked when it is needed: it may be offloaded between. */
  constructor(network: () => Network) {
    this.network = network;
  }
  async saveState(): Promise<TrainState> {
    const { ops, params } = this.network();
    return { steps: 0, params: await Promise.all(params.map((p) => ops.read(p))), m: [], v: [] };
  }
  loadState({ params: saved }: TrainState): void {
    const { ops, params } = this.network();
    params.forEach((p, i) => {
      ops.write(p, saved[i]!);
    });
  }
}
