/**
 * From where each MFC runs to where each model lives (reference: F5–F8): replicas of a role, one per layout; the hooks
 * that fill and drop them; which replicas hold parameters. The first layout of a role is replica 0; the
 * sequence-parallel flag makes no replica of its own. Of a trained role only the replica that trains holds parameters.
 */
import {
  ConfigError,
  GraphError,
  modelKey,
  modelName,
  type DeviceMesh,
  type MFCDef,
  type MFCHook,
  type ModelName,
  type Parallelism,
} from '@realhf/api';
import { worldSize } from '@realhf/comm';
import { formatMesh, meshRanks, type Cluster } from './mesh.js';
import { formatParallelism } from './mode.js';

/** Where one replica of a role lives. */
export interface Placement {
  readonly model: ModelName;
  /** Global ranks in the order of the topology: (pp, dp, tp) row-major. */
  readonly ranks: readonly number[];
  readonly parallel: Parallelism;
  /** false: empty until a param_realloc hook fills it. */
  readonly holdsParameters: boolean;
}

/** Where one MFC runs. */
export interface MFCAllocation {
  readonly mesh: DeviceMesh;
  readonly parallel: Parallelism;
}
/** By MFC name. */
export type Allocations = Readonly<Record<string, MFCAllocation>>;

/** Calls with their replicas and hooks, and where the replicas are. */
export interface ResolvedPlan {
  /** With replicas as models, and hooks. */
  readonly mfcs: readonly MFCDef[];
  readonly placements: readonly Placement[];
}

/** Throws ConfigError or GraphError that names the MFC at fault. */
export function resolveAllocations(
  mfcs: readonly MFCDef[],
  allocations: Allocations,
  cluster: Cluster,
): ResolvedPlan {
  const placed = mfcs.map((mfc) => {
    const allocation = allocations[mfc.name];
    if (!allocation)
      throw new ConfigError(
        `MFC '${mfc.name}' has no allocation; give it a mesh and a layout, or use another allocation_mode`,
      );
    checkAllocation(mfc.name, allocation, cluster);
    return { mfc, parallel: allocation.parallel, ranks: meshRanks(allocation.mesh, cluster) };
  });
  const odd = Object.keys(allocations).find((n) => !mfcs.some((m) => m.name === n));
  if (odd !== undefined)
    throw new ConfigError(
      `an allocation is given for MFC '${odd}'; MFCs are ${mfcs.map((m) => m.name).join(', ')}`,
    );

  const trained = new Set(
    mfcs.flatMap((m) => (m.interfaceType === 'train_step' ? [m.model.role] : [])),
  );
  const replicas: { placement: Placement }[] = [];
  const renamed = placed.map(({ mfc, parallel, ranks }) => {
    const { role } = mfc.model;
    const trains = mfc.interfaceType === 'train_step';
    const ofRole = replicas.filter((r) => r.placement.model.role === role);
    const at = ofRole.find((r) => sameLayout(r.placement, { ranks, parallel }));
    if (!at) {
      const placement = { model: modelName(role, ofRole.length), ranks, parallel };
      const holdsParameters = trains || !trained.has(role);
      replicas.push({ placement: { ...placement, holdsParameters } });
      return { ...mfc, model: placement.model };
    }
    const useSequenceParallel =
      at.placement.parallel.useSequenceParallel || parallel.useSequenceParallel;
    at.placement = {
      ...at.placement,
      parallel: { ...at.placement.parallel, useSequenceParallel },
      holdsParameters: at.placement.holdsParameters || trains,
    };
    return { ...mfc, model: at.placement.model };
  });
  const placements = replicas.map((r) => r.placement);
  const plan = { mfcs: withHooks(renamed, placements, trained), placements };
  checkPlacements(plan.mfcs, placements);
  return plan;
}

/** Throws ConfigError if an MFC's layout does not fill its mesh. */
export function checkAllocation(
  name: string,
  { mesh, parallel }: MFCAllocation,
  cluster: Cluster,
): void {
  const [want, have] = [worldSize(parallel), meshRanks(mesh, cluster).length];
  if (want !== have)
    throw new ConfigError(
      `MFC '${name}' has layout ${formatParallelism(parallel)} of ${want} devices on mesh '${formatMesh(mesh, cluster)}' of ${have}; make them equal`,
    );
}

/** Adds the hooks that the layouts ask for to those that the algorithm has. */
function withHooks(
  mfcs: readonly MFCDef[],
  placements: readonly Placement[],
  trained: ReadonlySet<string>,
): MFCDef[] {
  const trainers = new Map(
    mfcs.flatMap((m) =>
      m.interfaceType === 'train_step' ? [[m.model.role, m.model] as const] : [],
    ),
  );
  const placementOf = new Map(placements.map((p) => [modelKey(p.model), p]));
  const moved = new Set(
    mfcs.flatMap((m) =>
      [...(m.preHooks ?? []), ...(m.postHooks ?? [])].flatMap((h) =>
        h.type === 'param_realloc' && h.target ? [h.target.role] : [],
      ),
    ),
  );
  const shares = (m: MFCDef) =>
    mfcs.some(
      (o) =>
        o.model.role !== m.model.role &&
        overlaps(placementOf.get(modelKey(o.model))!, placementOf.get(modelKey(m.model))!),
    );
  return mfcs.map((m) => {
    const { preHooks, postHooks, ...rest } = m;
    const pre: MFCHook[] = [...(preHooks ?? [])];
    // A hook of the algorithm names a role: all replicas that hold parameters are meant.
    const post: MFCHook[] = (postHooks ?? []).flatMap((h): MFCHook[] => {
      if (h.type === 'offload' || !h.target) return [h];
      const { role } = h.target;
      const ends = placements.filter((p) => p.model.role === role && p.holdsParameters);
      return ends.map((p) => ({ ...h, target: p.model }));
    });
    const trainer = trainers.get(m.model.role);
    if (trainer && modelKey(trainer) !== modelKey(m.model)) {
      pre.unshift({ type: 'param_realloc', source: trainer });
      post.push({ type: 'param_realloc', target: trainer });
    }
    const untrained = !trained.has(m.model.role) && !moved.has(m.model.role);
    if (untrained && shares(m) && !post.some((h) => h.type === 'offload'))
      post.push({ type: 'offload' });
    return {
      ...rest,
      ...(pre.length > 0 ? { preHooks: pre } : {}),
      ...(post.length > 0 ? { postHooks: post } : {}),
    };
  });
}

/** The same ranks in the same (dp, tp, pp). */
function sameLayout(
  a: Pick<Placement, 'ranks' | 'parallel'>,
  b: Pick<Placement, 'ranks' | 'parallel'>,
): boolean {
  return (
    formatParallelism(a.parallel) === formatParallelism(b.parallel) &&
    a.ranks.length === b.ranks.length &&
    a.ranks.every((r, i) => r === b.ranks[i])
  );
}

function overlaps(a: Placement, b: Placement): boolean {
  return a.ranks.some((r) => b.ranks.includes(r));
}

/**
 * What placements, made by hand or not, must keep (reference: F5): a placement for each model and no other, layouts
 * that fill their ranks, no two replicas of a role alike, parameters where F8 wants them, and of the two ends of a
 * param_realloc exactly one that trains. Throws GraphError.
 */
export function checkPlacements(mfcs: readonly MFCDef[], placements: readonly Placement[]): void {
  const byKey = new Map<string, Placement>();
  for (const p of placements) {
    const key = modelKey(p.model);
    if (byKey.has(key)) throw new GraphError(`model ${key} has two placements; give it one`);
    byKey.set(key, p);
    const size = worldSize(p.parallel);
    const distinct = new Set(p.ranks);
    if (p.ranks.length !== size || distinct.size !== size)
      throw new GraphError(
        `model ${key} has layout ${formatParallelism(p.parallel)} of ${size} ranks, its placement names ${distinct.size} different ones: ${p.ranks.join(', ')}`,
      );
    const twin = placements.find(
      (o) => o !== p && o.model.role === p.model.role && sameLayout(o, p),
    );
    if (twin)
      throw new GraphError(
        `models ${key} and ${modelKey(twin.model)} have one layout, ${formatParallelism(p.parallel)} on ranks ${p.ranks.join(', ')}; make them one replica`,
      );
    if (!mfcs.some((m) => modelKey(m.model) === key))
      throw new GraphError(`model ${key} has a placement, but no MFC uses it; remove it`);
  }
  const trainers = new Map(
    mfcs.flatMap((m) =>
      m.interfaceType === 'train_step' ? [[m.model.role, modelKey(m.model)] as const] : [],
    ),
  );
  for (const m of mfcs) {
    const key = modelKey(m.model);
    const p = byKey.get(key);
    if (!p) throw new GraphError(`MFC '${m.name}' uses model ${key}, which has no placement`);
    const trainer = trainers.get(m.model.role);
    const should = trainer === undefined || trainer === key;
    if (p.holdsParameters !== should)
      throw new GraphError(
        `model ${key} ${p.holdsParameters ? 'holds parameters' : 'is empty'}; of role '${m.model.role}' ${trainer === undefined ? 'every replica holds them' : `only ${trainer}, which trains, holds them`}`,
      );
    for (const hook of [...(m.preHooks ?? []), ...(m.postHooks ?? [])])
      if (hook.type === 'param_realloc') checkEnds(m, hook.source ?? hook.target, trainers, byKey);
  }
}

function checkEnds(
  mfc: MFCDef,
  other: ModelName | undefined,
  trainers: ReadonlyMap<string, string>,
  known: ReadonlyMap<string, Placement>,
): void {
  if (!other || !known.has(modelKey(other)))
    throw new GraphError(
      `a param_realloc hook of MFC '${mfc.name}' names model ${other ? modelKey(other) : '?'}, which has no placement`,
    );
  const ends = [mfc.model, other];
  const training = ends.filter((e) => trainers.get(e.role) === modelKey(e));
  if (training.length !== 1)
    throw new GraphError(
      `a param_realloc hook of MFC '${mfc.name}' is between ${ends.map(modelKey).join(' and ')}, of which ${training.length === 0 ? 'neither trains' : 'both train'}; exactly one must`,
    );
}
