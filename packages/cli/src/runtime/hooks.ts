/** What a worker does for hooks: parameters between two layouts over the world's communicator, offload, and letting go. */
import {
  ConfigError,
  modelKey,
  type Communicator,
  type MFCDef,
  type MFCHook,
  type ModelConfig,
  type ModelName,
  type Ops,
  type TensorCommunicator,
} from '@realhf/api';
import { planRealloc, ReallocSession } from '@realhf/comm';
import { planHook, type HookPlan, type HookRunner, type Placement } from '@realhf/dataflow';
import { loraSpecs, replicaMaps, unsharedParams } from '@realhf/model';

import type { Replica } from './replica.js';

/** Elements: over NCCL a message costs about as much as 100 MB on the way. */
const largeMessage = 2 ** 25;

export interface HooksOptions {
  readonly rank: number;
  readonly ops: Ops;
  readonly world: Communicator | undefined;
  /** The same ranks from device to device, where that can be. */
  readonly tensors?: TensorCommunicator | undefined;
  readonly placements: readonly Placement[];
  /** Of this rank. */
  readonly replicas: readonly Replica[];
  /** Sizes by role. */
  readonly configs: Readonly<Record<string, ModelConfig>>;
  /** Node of a rank. */
  readonly nodeOf: (rank: number) => number;
}

export class WorkerHooks implements HookRunner {
  private readonly o: HooksOptions;
  /** By the two ends: plans are made once. */
  private readonly sessions = new Map<string, ReallocSession>();

  constructor(options: HooksOptions) {
    this.o = options;
  }

  async run(hook: MFCHook, { mfc }: { mfc: MFCDef; phase: 'pre' | 'post' }): Promise<void> {
    const plan = planHook(hook, mfc, this.o.placements);
    if (plan.kind === 'offload') await this.replica(plan.source)?.offload();
    else if (plan.kind === 'drop') this.replica(plan.source)?.drop();
    else await this.move(plan);
  }

  private async move({ source, target, eta }: HookPlan): Promise<void> {
    const from = this.replica(source);
    const to = this.replica(target);
    if (!from && !to) return;
    const session = this.session(source, target);
    // An average needs what the target has; else all of it is overwritten.
    const into = eta === 1 ? to?.allocate() : to?.network();
    await session.run({
      ...(from ? { source: from.network().params } : {}),
      ...(into ? { target: into.params } : {}),
      eta,
    });
  }

  private session(source: ModelName, target: ModelName): ReallocSession {
    const key = `${modelKey(source)} ${modelKey(target)}`;
    const made = this.sessions.get(key);
    if (made) return made;
    const { ops, rank, world, tensors, nodeOf } = this.o;
    const [a, b] = [this.placement(source), this.placement(target)];
    const [from, to] = [this.config(source), this.config(target)];
    // Of models with adapters these alone are moved: every replica has the weights.
    const lora = (this.replica(source) ?? this.replica(target))?.lora;
    const specs = lora && loraSpecs(from, lora);
    const plan = planRealloc(
      replicaMaps(from, a.parallel, ops.maxTensorBytes, specs),
      replicaMaps(to, b.parallel, ops.maxTensorBytes, specs),
      {
        sourceRanks: a.ranks,
        targetRanks: b.ranks,
        nodeOf,
        ...(tensors ? { maxElements: Math.min(largeMessage, ops.maxTensorBytes / 4) } : {}),
        skip: lora ? [] : unsharedParams(from, to),
      },
    );
    const session = new ReallocSession({
      plan,
      rank,
      ops,
      ...(world ? { comm: world } : {}),
      ...(tensors ? { tensors } : {}),
    });
    this.sessions.set(key, session);
    return session;
  }

  private config({ role }: ModelName): ModelConfig {
    const config = this.o.configs[role];
    if (!config) throw new ConfigError(`no sizes of role '${role}'`);
    return config;
  }
  private replica(model: ModelName): Replica | undefined {
    return this.o.replicas.find((r) => modelKey(r.placement.model) === modelKey(model));
  }
  private placement(model: ModelName): Placement {
    const found = this.o.placements.find((p) => modelKey(p.model) === modelKey(model));
    if (!found) throw new ConfigError(`model ${modelKey(model)} has no placement`);
    return found;
  }
}
