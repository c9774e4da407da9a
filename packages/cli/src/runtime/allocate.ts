/** From the options of a run to where each call runs and each model lives. */
import { ConfigError, type MFCDef, type ModelConfig } from '@realhf/api';
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
import { checkTensorParallel } from '@realhf/model';

import { roleConfig } from '../experiments/load-model.js';
import type { ExperimentSpec } from '../experiments/spec.js';
import { toParallelism } from '../options/schemas/mfc.js';
import { weightless } from '../rewards/external-model.js';

export interface RunAllocation extends ResolvedPlan {
  /** Sizes by role. */
  readonly configs: Readonly<Record<string, ModelConfig>>;
  readonly cluster: Cluster;
  /** Workers. */
  readonly size: number;
  /** Ranks that read the dataset: one of each data-parallel index of the first call that needs it. */
  readonly dataRanks: readonly number[];
}

/** Throws ConfigError that names the call or the option at fault. */
export async function allocate(spec: ExperimentSpec): Promise<RunAllocation> {
  const { n_nodes: nNodes, n_gpus_per_node: nGpusPerNode, nodelist } = spec.config;
  const { allocation_mode: mode } = spec.config;
  const cluster = makeCluster({ nNodes, nGpusPerNode, nodelist });
  const configs = await roleConfigs(spec);
  const chosen = allocations(spec, mode, cluster, configs);
  const plan = resolveAllocations(spec.mfcs, chosen, cluster);
  return {
    ...plan,
    configs,
    cluster,
    size: clusterSize(cluster),
    dataRanks: dataRanks(spec, plan),
  };
}

function allocations(
  spec: ExperimentSpec,
  text: string,
  cluster: Cluster,
  configs: Readonly<Record<string, ModelConfig>>,
): Allocations {
  const mode = parseAllocationMode(text, cluster);
  if (mode.kind === 'heuristic') {
    return heuristicAllocations({
      mfcs: spec.mfcs,
      cluster,
      configs,
      workload: spec.workload,
      zero1: true,
      minibatches: Object.fromEntries(spec.mfcs.flatMap(minibatchesOf)),
      tensorParallelFits: (config, size) => {
        try {
          checkTensorParallel(config, size);
          return true;
        } catch {
          return false;
        }
      },
    });
  }
  const of = ({ name, interfaceType }: MFCDef) => {
    if (mode.kind === 'symmetric') {
      const useSequenceParallel =
        interfaceType === 'train_step' && mode.parallel.tensorParallelSize > 1;
      const parallel = { ...mode.parallel, useSequenceParallel };
      return { mesh: parseMesh(null, cluster), parallel };
    }
    const call = spec.calls[name];
    if (!call) throw new ConfigError(`call '${name}' has no options; it can't be laid out by hand`);
    return {
      mesh: parseMesh(call.device_mesh, cluster),
      parallel: toParallelism(call.parallel),
    };
  };
  return Object.fromEntries(spec.mfcs.map((m) => [m.name, of(m)]));
}

/** Sizes of all roles, from their config.json. */
export async function roleConfigs(spec: ExperimentSpec): Promise<Record<string, ModelConfig>> {
  const out: Record<string, ModelConfig> = {};
  for (const { role, options, key, isCritic, external } of spec.roles) {
    const config = await roleConfig(options, key, isCritic);
    out[role] = external ? weightless(config) : config;
  }
  return out;
}

/** A train_step of PPO or GRPO cuts its batch. */
function minibatchesOf({ name, interfaceType, interfaceImpl }: MFCDef): [string, number][] {
  const n = interfaceImpl.args.ppo_n_minibatches;
  return interfaceType === 'train_step' && typeof n === 'number' ? [[name, n]] : [];
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
