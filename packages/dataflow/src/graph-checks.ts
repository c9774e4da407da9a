/**
 * Checks of MFC definitions that need no edges (reference: F5, F9): names, sizes, key renames, hooks, replicas, one
 * interface per model, one train_step per role. Each throws GraphError in one line.
 */
import { GraphError, modelKey, type MFCDef, type ModelName } from '@realhf/api';

/** Throws GraphError on the first definition at fault. */
export function checkDefinitions(mfcs: readonly MFCDef[]): void {
  if (mfcs.length === 0) throw new GraphError('a graph needs at least one MFC, got none');
  const names = new Set<string>();
  for (const m of mfcs) {
    if (names.has(m.name))
      throw new GraphError(`two MFCs are named '${m.name}'; give each a name of its own`);
    names.add(m.name);
    checkOne(m);
  }
  checkInterfaces(mfcs);
  checkTrainSteps(mfcs);
  checkReplicas(mfcs);
  checkHooks(mfcs);
}

function checkOne(m: MFCDef): void {
  if (!Number.isInteger(m.nSeqs) || m.nSeqs < 1)
    throw new GraphError(`MFC '${m.name}' has nSeqs ${m.nSeqs}; it must be a whole number ≥ 1`);
  if (m.nMbs !== undefined && (!Number.isInteger(m.nMbs) || m.nMbs < 1))
    throw new GraphError(`MFC '${m.name}' has nMbs ${m.nMbs}; it must be a whole number ≥ 1`);
  if (m.inputKeys.length === 0)
    throw new GraphError(`MFC '${m.name}' has no input keys, so nothing would start it; name one`);
  const isTrain = m.interfaceType === 'train_step';
  if (isTrain && m.outputKeys.length > 0)
    throw new GraphError(
      `MFC '${m.name}' is a train_step with output keys ${m.outputKeys.join(', ')}; a train_step returns stats only, remove them`,
    );
  if (!isTrain && m.outputKeys.length === 0)
    throw new GraphError(`MFC '${m.name}' (${m.interfaceType}) has no output keys; name one`);
  for (const [field, keys] of [
    ['inputKeys', m.inputKeys],
    ['outputKeys', m.outputKeys],
  ] as const) {
    const twice = keys.find((k, i) => keys.indexOf(k) !== i);
    if (twice !== undefined)
      throw new GraphError(`MFC '${m.name}' names '${twice}' twice in ${field}; remove one`);
  }
  for (const key of Object.keys(m.inputKeyRemap ?? {}))
    if (!m.inputKeys.includes(key))
      throw new GraphError(
        `MFC '${m.name}' renames input '${key}', which is not one of its inputs ${m.inputKeys.join(', ')}`,
      );
  for (const key of Object.values(m.outputKeyRemap ?? {}))
    if (!m.outputKeys.includes(key))
      throw new GraphError(
        `MFC '${m.name}' renames an output to '${key}', which is not one of its outputs ${m.outputKeys.join(', ')}`,
      );
}

/** A model holds one interface object (with its state), so all its MFCs must ask for the same one. */
function checkInterfaces(mfcs: readonly MFCDef[]): void {
  const first = new Map<string, MFCDef>();
  for (const m of mfcs) {
    const key = modelKey(m.model);
    const other = first.get(key);
    if (!other) first.set(key, m);
    else if (canonical(other.interfaceImpl) !== canonical(m.interfaceImpl))
      throw new GraphError(
        `model ${key} has two interfaces: MFC '${other.name}' uses ${canonical(other.interfaceImpl)}, MFC '${m.name}' uses ${canonical(m.interfaceImpl)}; make them equal or use another replica`,
      );
  }
}

/** JSON with sorted keys: equal values give equal text. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, v: unknown) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );
}

function checkTrainSteps(mfcs: readonly MFCDef[]): void {
  const first = new Map<string, MFCDef>();
  for (const m of mfcs) {
    if (m.interfaceType !== 'train_step') continue;
    const other = first.get(m.model.role);
    if (other)
      throw new GraphError(
        `role '${m.model.role}' has two train_steps, MFC '${other.name}' and MFC '${m.name}'; at most one may train a role`,
      );
    first.set(m.model.role, m);
  }
}

function replicasOf(mfcs: readonly MFCDef[]): Map<string, Set<number>> {
  const replicas = new Map<string, Set<number>>();
  for (const { model } of mfcs) {
    const ids = replicas.get(model.role) ?? new Set();
    replicas.set(model.role, ids.add(model.replicaId));
  }
  return replicas;
}

function checkReplicas(mfcs: readonly MFCDef[]): void {
  for (const [role, ids] of replicasOf(mfcs))
    for (let i = 0; i < ids.size; i++)
      if (!ids.has(i))
        throw new GraphError(
          `role '${role}' has replicas ${[...ids].sort((a, b) => a - b).join(', ')}; number them 0 to ${ids.size - 1}`,
        );
}

function checkHooks(mfcs: readonly MFCDef[]): void {
  const replicas = replicasOf(mfcs);
  const known = (n: ModelName) => replicas.get(n.role)?.has(n.replicaId) === true;
  for (const m of mfcs) {
    if (m.preHooks?.some((h) => h.type === 'offload') === true)
      throw new GraphError(
        `MFC '${m.name}' offloads before the call; offload can only be a post-hook`,
      );
    for (const hook of [...(m.preHooks ?? []), ...(m.postHooks ?? [])]) {
      if (hook.type !== 'param_realloc') continue;
      const ends = [hook.source, hook.target].filter((e) => e !== undefined);
      if (ends.length !== 1)
        throw new GraphError(
          `a param_realloc hook of MFC '${m.name}' has ${ends.length === 2 ? 'both source and target' : 'neither source nor target'}; give exactly one, the other end is the MFC's model`,
        );
      const end = ends[0]!;
      if (!known(end))
        throw new GraphError(
          `a param_realloc hook of MFC '${m.name}' names model ${modelKey(end)}, which no MFC uses`,
        );
      const eta = hook.eta ?? 1;
      if (!(eta > 0 && eta <= 1))
        throw new GraphError(
          `a param_realloc hook of MFC '${m.name}' has eta ${eta}; it must be above 0 and at most 1`,
        );
    }
  }
}
