/** From the options of a run to where each call runs and each model lives. */
import { ConfigError, type MFCDef } from '@realhf/api';
import { coordinatesOf } from '@realhf/comm';
import {
  clusterSize,
  heuristicAllocations,
  makeCluster,
  parseAllocationMode,
  parseMesh,
  resolveAllocations,
  type Allocations,
  type Cluster,
  type ResolvedPlan,
} from '@realhf/dataflow';

import { roleConfig } from '../experiments/load-model.js';
import type { ExperimentSpec } from '../experiments/spec.js';
import { toParallelism } from '../options/schemas/mfc.js';

export interface RunAllocation extends ResolvedPlan {
  readonly cluster: Cluster;
  /** Workers. */
  readonly size: number;
  /** Ranks that read the dataset: one of each data-parallel index of the first call that needs it. */
  readonly dataRanks: readonly number[];
}

/** Throws ConfigError that names the call or the option at fault. */
export async function allocate(spec: ExperimentSpec): Promise<RunAllocation> {
  const { n_nodes: nNodes, n_gpus_per_node: nGpusPerNode, allocation_mode: mode } = spec.config;
  const cluster = makeCluster({ nNodes, nGpusPerNode });
  const plan = resolveAllocations(spec.mfcs, await allocations(spec, mode, cluster), cluster);
  return { ...plan, cluster, size: clusterSize(cluster), dataRanks: dataRanks(spec, plan) };
}

async function allocations(
  spec: ExperimentSpec,
  text: string,
  cluster: Cluster,
): Promise<Allocations> {
  const mode = parseAllocationMode(text, cluster);
  if (mode.kind === 'heuristic') {
    const configs = await Promise.all(
      spec.roles.map(
        async (r) => [r.role, await roleConfig(r.options, r.key, r.isCritic)] as const,
      ),
    );
    return heuristicAllocations({
      mfcs: spec.mfcs,
      cluster,
      configs: Object.fromEntries(configs),
      workload: spec.workload,
      zero1: true,
    });
  }
  const of = ({ name }: MFCDef) => {
    if (mode.kind === 'symmetric')
      return { mesh: parseMesh(null, cluster), parallel: mode.parallel };
    const call = spec.calls[name];
    if (!call) throw new ConfigError(`call '${name}' has no options; it can't be laid out by hand`);
    return {
      mesh: parseMesh(call.device_mesh, cluster),
      parallel: toParallelism(call.parallel),
    };
  };
  return Object.fromEntries(spec.mfcs.map((m) => [m.name, of(m)]));
}

/** As the master chooses them: heads of the first call that takes only keys of the dataset. */
function dataRanks(spec: ExperimentSpec, { mfcs, placements }: ResolvedPlan): number[] {
  const source = mfcs.find((m) => m.inputKeys.some((k) => spec.datasetKeys.includes(k)));
  const placement = placements.find(
    ({ model }) => model.role === source?.model.role && model.replicaId === source.model.replicaId,
  );
  if (!placement) throw new ConfigError('no call reads the dataset');
  const { ranks, parallel } = placement;
  return ranks.filter((_, i) => {
    const { tp, pp } = coordinatesOf(i, parallel);
    return tp === 0 && pp === parallel.pipelineParallelSize - 1;
  });
}
