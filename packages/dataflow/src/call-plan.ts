/**
 * What goes to which rank when an MFC is called (reference: F11): pure data from the batch's metadata. A call goes to
 * all ranks of the mesh at once; the ranks of one data-parallel index get the same items.
 */
import type { MFCDef, MFCHook, SequenceSample } from '@realhf/api';
import { specOfSizes, splitSample, splitWithSpec } from '@realhf/packing';
import type { Site, SiteRank, Sites } from './sites.js';

export interface RankCall extends SiteRank {
  readonly ids: readonly string[];
}

/** Hooks that a worker outside the call takes part in, in order. */
export type OutsideHooks = ReadonlyMap<string, readonly MFCHook[]>;

export interface CallPlan {
  /** In the order of the topology. */
  readonly ranks: readonly RankCall[];
  /** Items per data-parallel index. */
  readonly partSizes: readonly number[];
  readonly preHooks: readonly MFCHook[];
  readonly preOutside: OutsideHooks;
  /** Post-hooks that need nobody else: they are part of the call. */
  readonly postHooks: readonly MFCHook[];
  /** By worker, of the mesh or not: those that need others, and all after them. They follow once the call is back, so
   * that nobody waits for it in a hook. */
  readonly postOutside: OutsideHooks;
}

/** Parts of about equal tokens, or of equally many items with `balancedDp`; contiguous, in order. */
function splitOverDp(batch: SequenceSample, mfc: MFCDef, dp: number): SequenceSample[] {
  if (dp === 1) return [batch];
  return mfc.balancedDp === true
    ? splitWithSpec(batch, specOfSizes(new Array<number>(dp).fill(batch.bs / dp)))
    : splitSample(batch, dp, { minSize: mfc.nMbs ?? 1 });
}

export function planCall(mfc: MFCDef, batch: SequenceSample, sites: Sites): CallPlan {
  const site = sites.of(mfc.model);
  const parts = splitOverDp(batch, mfc, site.parallel.dataParallelSize);
  const post = mfc.postHooks ?? [];
  const first = post.findIndex((h) => reachesOut(h, mfc, site, sites));
  const inside = first < 0 ? post : post.slice(0, first);
  const mesh = new Set(site.ranks.map((r) => r.worker));
  return {
    ranks: site.ranks.map((r) => ({ ...r, ids: parts[r.dp]!.ids })),
    partSizes: parts.map((p) => p.bs),
    preHooks: mfc.preHooks ?? [],
    preOutside: byWorker(mfc.preHooks ?? [], mfc, sites, (w) => !mesh.has(w)),
    postHooks: inside,
    postOutside: byWorker(post.slice(inside.length), mfc, sites, () => true),
  };
}

function reachesOut(hook: MFCHook, mfc: MFCDef, site: Site, sites: Sites): boolean {
  return sites.hook(hook, mfc).workers.some((w) => !site.ranks.some((r) => r.worker === w));
}

function byWorker(
  hooks: readonly MFCHook[],
  mfc: MFCDef,
  sites: Sites,
  wanted: (worker: string) => boolean,
): OutsideHooks {
  const map = new Map<string, MFCHook[]>();
  for (const hook of hooks)
    for (const worker of sites.hook(hook, mfc).workers.filter(wanted))
      map.set(worker, [...(map.get(worker) ?? []), hook]);
  return map;
}
