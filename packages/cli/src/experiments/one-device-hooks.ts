/**
 * Hooks where all models are on one device: parameters go from one network to another by kernels, mixed where the hook
 * says so. Offload does nothing: it saves memory only, and one process has what it has.
 */
import { ConfigError, modelKey, singleDevice, type MFCDef, type MFCHook } from '@realhf/api';
import { planRealloc, ReallocSession } from '@realhf/comm';
import type { HookRunner } from '@realhf/dataflow';
import { replicaMaps, unsharedParams, type ReaLModel } from '@realhf/model';

export class OneDeviceHooks implements HookRunner {
  private readonly networks: ReadonlyMap<string, ReaLModel>;
  /** By the two ends: plans are made once. */
  private readonly sessions = new Map<string, ReallocSession>();

  /** `networks` by model key. */
  constructor(networks: ReadonlyMap<string, ReaLModel>) {
    this.networks = networks;
  }

  async run(hook: MFCHook, { mfc }: { mfc: MFCDef }): Promise<void> {
    if (hook.type === 'offload') return;
    const [from, to] = [modelKey(hook.source ?? mfc.model), modelKey(hook.target ?? mfc.model)];
    const [source, target] = [this.network(from), this.network(to)];
    const key = `${from} ${to}`;
    const session = this.sessions.get(key) ?? sessionOf(source, target);
    this.sessions.set(key, session);
    await session.run({
      source: source.params,
      target: target.params,
      ...(hook.eta === undefined ? {} : { eta: hook.eta }),
    });
  }

  private network(key: string): ReaLModel {
    const found = this.networks.get(key);
    if (!found)
      throw new ConfigError(
        `a param_realloc hook names model ${key}; there are ${[...this.networks.keys()].join(', ')}`,
      );
    return found;
  }
}

function sessionOf(source: ReaLModel, target: ReaLModel): ReallocSession {
  const { ops, config } = source;
  const maps = [config, target.config].map((c) => replicaMaps(c, singleDevice, ops.maxTensorBytes));
  const plan = planRealloc(maps[0]!, maps[1]!, {
    sourceRanks: [0],
    targetRanks: [0],
    skip: unsharedParams(config, target.config),
  });
  return new ReallocSession({ plan, rank: 0, ops });
}
