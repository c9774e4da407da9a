import { modelName, type MFCDef, type MFCHook } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { ppoMFCs } from '../algorithms/ppo.js';
import { planHook } from './hook-ranks.js';
import { makeCluster, parseMesh } from './mesh.js';
import { layout, parseParallelism } from './mode.js';
import { checkPlacements, resolveAllocations, type Placement } from './placement.js';

const cluster = makeCluster({ nNodes: 1, nGpusPerNode: 8 });
const at = (mesh: string | null, parallel: string) => ({
  mesh: parseMesh(mesh, cluster),
  parallel: parseParallelism(parallel),
});
const one = at('NODE01:0', 'd1m1p1');
const ppo = ppoMFCs({ nSeqs: 8, logitsMask: false });
const names = ppo.map((m) => m.name);
const allOn = (a: ReturnType<typeof at>) => Object.fromEntries(names.map((n) => [n, a]));
const hooksOf = (mfcs: readonly MFCDef[], name: string) => {
  const m = mfcs.find((x) => x.name === name)!;
  return { pre: m.preHooks ?? [], post: m.postHooks ?? [] };
};
const from = (role: string, replica: number): MFCHook => ({
  type: 'param_realloc',
  source: modelName(role, replica),
});
const to = (role: string, replica: number, eta?: number): MFCHook => ({
  type: 'param_realloc',
  target: modelName(role, replica),
  ...(eta === undefined ? {} : { eta }),
});

describe('resolveAllocations', () => {
  it('gives one replica per role where all layouts are equal, and offloads the untrained that share', () => {
    const { mfcs, placements } = resolveAllocations(ppo, allOn(one), cluster);
    expect(placements.map((p) => [p.model, p.ranks, p.holdsParameters])).toEqual(
      ['actor', 'reward', 'ref', 'critic'].map((r) => [modelName(r), [0], true]),
    );
    expect(hooksOf(mfcs, 'ref_inf').post).toEqual([{ type: 'offload' }]);
    expect(hooksOf(mfcs, 'rew_inf').post).toEqual([{ type: 'offload' }]);
    for (const n of ['actor_gen', 'critic_inf', 'actor_train', 'critic_train'])
      expect(hooksOf(mfcs, n)).toEqual({ pre: [], post: [] });
  });

  it('makes replicas per layout, filled before and dropped after the call', () => {
    const { mfcs, placements } = resolveAllocations(
      ppo,
      {
        actor_gen: at(null, 'd8m1p1'),
        rew_inf: at('NODE01:4,5', 'd2m1p1'),
        ref_inf: at('NODE01:6,7', 'd1m2p1'),
        critic_inf: at('NODE01:2,3', 'd2m1p1'),
        actor_train: at('NODE01:0,1', 'd1m2p1'),
        critic_train: at('NODE01:2,3', 'd1m1p2'),
      },
      cluster,
    );
    expect(placements).toMatchObject([
      { model: modelName('actor', 0), holdsParameters: false, ranks: [0, 1, 2, 3, 4, 5, 6, 7] },
      { model: modelName('reward', 0), holdsParameters: true },
      { model: modelName('ref', 0), holdsParameters: true },
      { model: modelName('critic', 0), holdsParameters: false, parallel: layout(2, 1, 1) },
      { model: modelName('actor', 1), holdsParameters: true },
      { model: modelName('critic', 1), holdsParameters: true, parallel: layout(1, 1, 2) },
    ]);
    expect(hooksOf(mfcs, 'actor_gen')).toEqual({ pre: [from('actor', 1)], post: [to('actor', 1)] });
    expect(hooksOf(mfcs, 'critic_inf')).toEqual({
      pre: [from('critic', 1)],
      post: [to('critic', 1)],
    });
    expect(hooksOf(mfcs, 'actor_train')).toEqual({ pre: [], post: [] });
    // Who takes part: both layouts to fill, only its own to drop.
    const gen = mfcs.find((m) => m.name === 'critic_inf')!;
    expect(planHook(gen.preHooks![0]!, gen, placements)).toMatchObject({
      kind: 'move',
      ranks: [2, 3],
    });
    const actor = mfcs.find((m) => m.name === 'actor_gen')!;
    expect(planHook(actor.preHooks![0]!, actor, placements)).toMatchObject({
      kind: 'move',
      source: modelName('actor', 1),
      target: modelName('actor', 0),
      eta: 1,
      ranks: [0, 1, 2, 3, 4, 5, 6, 7],
    });
    expect(planHook(actor.postHooks![0]!, actor, placements).kind).toBe('drop');
  });

  it('ignores sequence parallelism when it counts replicas', () => {
    const sp = { ...at('NODE01:0,1', 'd1m2p1') };
    sp.parallel = { ...sp.parallel, useSequenceParallel: true };
    const plan = { ...allOn(at('NODE01:0,1', 'd1m2p1')), actor_train: sp };
    const { placements } = resolveAllocations(ppo, plan, cluster);
    expect(placements.filter((p) => p.model.role === 'actor')).toMatchObject([
      { parallel: { useSequenceParallel: true } },
    ]);
  });

  it('keeps the moving average of the reference, which is then never offloaded', () => {
    const mfcs = ppoMFCs({ nSeqs: 8, logitsMask: false, refEmaEta: 0.1 });
    const plan = { ...allOn(one), ref_inf: at('NODE01:4,5', 'd2m1p1') };
    const resolved = resolveAllocations(mfcs, plan, cluster);
    const { post } = hooksOf(resolved.mfcs, 'actor_train');
    expect(post).toEqual([to('ref', 0, 0.1)]);
    expect(hooksOf(resolved.mfcs, 'ref_inf').post).toEqual([]);
    const train = resolved.mfcs.find((m) => m.name === 'actor_train')!;
    expect(planHook(post[0]!, train, resolved.placements)).toMatchObject({
      kind: 'move',
      eta: 0.1,
      ranks: [0, 4, 5],
    });
  });

  it('says what is missing or does not fit', () => {
    const plan = allOn(one);
    const rest: Record<string, typeof one> = { ...plan };
    delete rest.ref_inf;
    expect(() => resolveAllocations(ppo, rest, cluster)).toThrow(/MFC 'ref_inf' has no allocation/);
    expect(() => resolveAllocations(ppo, { ...plan, refInf: one }, cluster)).toThrow(
      /for MFC 'refInf'/,
    );
    expect(() =>
      resolveAllocations(ppo, { ...plan, ref_inf: at('NODE01:0,1', 'd1m1p1') }, cluster),
    ).toThrow(/MFC 'ref_inf' has layout d1m1p1 of 1 devices on mesh 'NODE01:0,1' of 2/);
  });
});

describe('checkPlacements', () => {
  const good = resolveAllocations(ppo, allOn(one), cluster);
  const change = (role: string, by: Partial<Placement>) =>
    good.placements.map((p) => (p.model.role === role ? { ...p, ...by } : p));
  const check =
    (placements: readonly Placement[], mfcs: readonly MFCDef[] = good.mfcs) =>
    () => {
      checkPlacements(mfcs, placements);
    };
  const withHook = (hook: MFCHook, on = 'ref_inf') =>
    good.mfcs.map((m) => (m.name === on ? { ...m, postHooks: [hook] } : m));
  it('refuses what F5 forbids', () => {
    expect(check(good.placements)).not.toThrow();
    expect(check(good.placements.slice(1))).toThrow(
      /MFC 'actor_gen' uses model actor@0, which has no/,
    );
    expect(check([...good.placements, good.placements[0]!])).toThrow(/actor@0 has two placements/);
    const twin = { ...good.placements[0]!, model: modelName('actor', 1) };
    expect(check([...good.placements, twin])).toThrow(
      /actor@0 and actor@1 have one layout, d1m1p1/,
    );
    const spare = { ...good.placements[0]!, model: modelName('other') };
    expect(check([...good.placements, spare])).toThrow(/other@0 has a placement, but no MFC/);
    expect(check(change('ref', { ranks: [0, 0], parallel: layout(2, 1, 1) }))).toThrow(
      /d2m1p1 of 2 ranks, its placement names 1 different/,
    );
    expect(check(change('actor', { holdsParameters: false }))).toThrow(/actor@0 is empty; of role/);
    expect(check(change('ref', { holdsParameters: false }))).toThrow(/every replica holds them/);
    expect(check(good.placements, withHook(to('reward', 0)))).toThrow(/of which neither trains/);
    expect(check(good.placements, withHook(to('critic', 0), 'actor_train'))).toThrow(/both train/);
    expect(check(good.placements, withHook(to('actor', 7)))).toThrow(
      /actor@7, which has no placement/,
    );
  });
});
