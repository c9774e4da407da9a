/** The replicas of one rank: communicators of each layout over the world's, weights loaded or left out. */
import {
  ConfigError,
  modelKey,
  type Communicator,
  type Ops,
  type ParallelGroups,
} from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import { parallelGroups } from '@realhf/comm';
import type { Placement } from '@realhf/dataflow';

import { emptyModel, loadModel } from '../experiments/load-model.js';
import { adapterOwner, isFrozen } from '../experiments/shared-weights.js';
import type { ExperimentSpec, RoleSpec } from '../experiments/spec.js';
import { Replica } from './replica.js';
import type { TensorWorld } from './tensor-world.js';

export interface BuildOptions {
  readonly spec: ExperimentSpec;
  readonly placements: readonly Placement[];
  readonly rank: number;
  /** Of all ranks; undefined where there is one. */
  readonly world: Communicator | undefined;
  readonly tensorWorld: TensorWorld | undefined;
  readonly ops: Ops;
  readonly totalSteps: number;
}

/** In the order of the placements, those of other ranks left out. Every rank of the world must call it. */
export async function buildReplicas(o: BuildOptions): Promise<Replica[]> {
  const replicas: Replica[] = [];
  // Models with an adapter first: frozen ones may be their weights. The same order on every rank.
  const frozen = ({ model }: Placement) =>
    Number(o.spec.roles.some((r) => r.role === model.role && isFrozen(r)));
  for (const placement of [...o.placements].sort((a, b) => frozen(a) - frozen(b))) {
    if (!placement.ranks.includes(o.rank)) continue;
    const role = o.spec.roles.find((r) => r.role === placement.model.role);
    if (!role)
      throw new ConfigError(
        `a placement is of role '${placement.model.role}'; roles are ${o.spec.roles.map((r) => r.role).join(', ')}`,
      );
    if (role.external) continue;
    const owner = adapterOwner(o.spec.roles, role);
    const replica =
      (owner && sharedReplica(placement, owner, replicas)) ??
      (await buildReplica(o, placement, role));
    replicas.push(replica);
  }
  const order = new Map(o.placements.map((p, i) => [modelKey(p.model), i]));
  const place = (r: Replica) => order.get(modelKey(r.placement.model))!;
  return replicas.sort((a, b) => place(a) - place(b));
}

/** A frozen model that is the weights of a replica with an adapter, in the same layout; else it has a copy of its own. */
function sharedReplica(
  placement: Placement,
  owner: RoleSpec,
  replicas: readonly Replica[],
): Replica | undefined {
  const layout = ({ ranks, parallel }: Placement) => JSON.stringify([ranks, parallel]);
  const of = replicas.find(
    (r) =>
      r.base && r.placement.model.role === owner.role && layout(r.placement) === layout(placement),
  );
  const { base: model, tokenizerDir = '' } = of ?? {};
  return model && new Replica({ placement, model, tokenizerDir, shared: true });
}

async function buildReplica(
  o: BuildOptions,
  placement: Placement,
  role: RoleSpec,
): Promise<Replica> {
  const { ops } = o;
  const groups = await groupsOf(o, placement);
  const { holdsParameters: allocate } = placement;
  const from = { ...role, role: role.key };
  const { model, tokenizerDir } = allocate
    ? await loadModel(ops, from, groups)
    : await emptyModel(ops, from, groups);
  const common = { placement, model, tokenizerDir };
  if (!role.optimizer || !allocate) return new Replica(common);
  const { optimizer } = role;
  const trained = new AdamEngine(model, { optimizer, totalSteps: o.totalSteps });
  return new Replica({ ...common, trained });
}

async function groupsOf(
  { world, tensorWorld }: BuildOptions,
  { ranks, parallel, model }: Placement,
): Promise<ParallelGroups> {
  if (ranks.length === 1) return { coordinates: { pp: 0, dp: 0, tp: 0 }, tpSize: 1, ppSize: 1 };
  const group = world?.group(ranks);
  if (!group)
    throw new ConfigError(
      `model ${model.role} needs ranks ${ranks.join(', ')}, this run has ${world?.size ?? 1}`,
    );
  const tensors = await tensorWorld?.groups(ranks, parallel);
  return { ...parallelGroups(group, parallel), ...(tensors ? { tensors } : {}) };
}
