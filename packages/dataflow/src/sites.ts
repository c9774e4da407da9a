/** Where models are, by worker name: what the master needs to know of placements. Without any, every model is on one worker. */
import {
  CommError,
  GraphError,
  modelKey,
  singleDevice,
  type MFCDef,
  type MFCHook,
  type ModelName,
  type Parallelism,
} from '@realhf/api';
import { coordinatesOf } from '@realhf/comm';
import { planHook, type HookPlan } from './allocation/hook-ranks.js';
import { checkPlacements, type Placement } from './allocation/placement.js';
import type { Graph } from './graph.js';

/** One rank of a model. */
export interface SiteRank {
  readonly worker: string;
  readonly dp: number;
  /** Tensor-parallel rank 0 of the last pipeline stage. */
  readonly isHead: boolean;
}

export interface Site {
  readonly parallel: Parallelism;
  /** In the order of the topology. */
  readonly ranks: readonly SiteRank[];
  /** Of each data-parallel index. */
  readonly heads: readonly string[];
}

export interface SitesOptions {
  readonly graph: Graph;
  readonly placements: readonly Placement[];
  readonly workerOfRank: (rank: number) => string;
}

export class Sites {
  private readonly placements: readonly Placement[];
  private readonly workerOfRank: (rank: number) => string;
  private readonly byKey: ReadonlyMap<string, Site>;

  /** Throws GraphError if placements and graph do not fit each other, or a batch is too small for its layout. */
  constructor({ graph, placements, workerOfRank }: SitesOptions) {
    const mfcs = [...graph.nodes.values()].map((n) => n.mfc);
    checkPlacements(mfcs, placements);
    this.placements = placements;
    this.workerOfRank = workerOfRank;
    this.byKey = new Map(
      placements.map(({ model, ranks, parallel }) => {
        const site = ranks.map((rank, i): SiteRank => {
          const { dp, tp, pp } = coordinatesOf(i, parallel);
          const isHead = tp === 0 && pp === parallel.pipelineParallelSize - 1;
          return { worker: workerOfRank(rank), dp, isHead };
        });
        const heads = site.filter((r) => r.isHead).map((r) => r.worker);
        return [modelKey(model), { parallel, ranks: site, heads }];
      }),
    );
    for (const mfc of mfcs) checkBatch(mfc, this.of(mfc.model).parallel);
  }

  of(model: ModelName): Site {
    return this.byKey.get(modelKey(model))!;
  }

  /** What a hook does, and on which workers. */
  hook(hook: MFCHook, mfc: MFCDef): HookPlan & { readonly workers: readonly string[] } {
    const plan = planHook(hook, mfc, this.placements);
    return { ...plan, workers: plan.ranks.map(this.workerOfRank) };
  }
}

/** One worker per model, as `workerOf` says; a rank is an index of `workers`. Throws CommError on an unknown worker. */
export function singleWorkerPlacements(
  graph: Graph,
  workers: readonly string[],
  workerOf: (model: ModelName) => string,
): Placement[] {
  const models = new Map(
    [...graph.nodes.values()].map(({ mfc }) => [modelKey(mfc.model), mfc.model]),
  );
  return [...models.values()].map((model) => {
    const worker = workerOf(model);
    const rank = workers.indexOf(worker);
    if (rank < 0 && workers.length > 0)
      throw new CommError(
        `model ${modelKey(model)} should be on worker '${worker}'; there are ${workers.join(', ')}`,
      );
    return { model, ranks: [rank], parallel: singleDevice, holdsParameters: true };
  });
}

/** Every data-parallel rank needs an item per microbatch (reference: F11). */
function checkBatch(mfc: MFCDef, { dataParallelSize: dp }: Parallelism): void {
  const parts = dp * (mfc.nMbs ?? 1);
  if (mfc.nSeqs < parts)
    throw new GraphError(
      `MFC '${mfc.name}' takes ${mfc.nSeqs} sequences, ${dp} data-parallel ranks × ${mfc.nMbs ?? 1} microbatches need ${parts}; raise the batch size or lower one of them`,
    );
  if (mfc.balancedDp === true && mfc.nSeqs % dp !== 0)
    throw new GraphError(
      `MFC '${mfc.name}' gives each data-parallel rank equally many sequences: ${mfc.nSeqs} do not divide over ${dp}; change the batch size or the data-parallel size`,
    );
}
