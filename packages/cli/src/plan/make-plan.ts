/** A plan from options: where calls run, what ranks hold, what moves between replicas. Starts nothing, opens no device. */
import { ConfigError, modelKey, type ModelConfig, type ParamSpec } from '@realhf/api';
import { planRealloc } from '@realhf/comm';
import {
  heuristicAllocations,
  makeCluster,
  parseAllocationMode,
  parseMesh,
  planHook,
  planMemory,
  resolveAllocations,
  type Allocations,
  type Cluster,
  type HookPlan,
  type MemoryOptions,
  type Placement,
  type RankMemory,
  type ResolvedPlan,
} from '@realhf/dataflow';
import {
  checkTensorParallel,
  loraSpecs,
  replicaMaps,
  stageLayers,
  unsharedParams,
} from '@realhf/model';

import { adapterOf, roleConfig } from '../experiments/load-model.js';
import { hasLora } from '../options/schemas/lora.js';
import { toParallelism } from '../options/schemas/mfc.js';
import { plannedAlgorithm, type PlannedAlgorithm } from './algorithm.js';
import type { AlgorithmName, PlanOptions } from './options.js';
import { presetConfig, presetNames } from './presets.js';

/** Bytes that a param_realloc hook moves. */
export interface PlannedMove {
  readonly mfc: string;
  readonly phase: 'before' | 'after';
  readonly source: string;
  readonly target: string;
  /** Between ranks, between nodes (part of it), and within ranks. */
  readonly moved: number;
  readonly crossNode: number;
  readonly copied: number;
  /** Of the rank that sends most. */
  readonly busiest: number;
}

export interface Plan extends ResolvedPlan {
  readonly cluster: Cluster;
  readonly allocations: Allocations;
  readonly algorithm: PlannedAlgorithm;
  readonly memory: ReadonlyMap<number, RankMemory>;
  readonly moves: readonly PlannedMove[];
}

const elementBytes = 4;

/** Throws ConfigError that names the option, the call or the column at fault. */
export async function makePlan(name: AlgorithmName, options: PlanOptions): Promise<Plan> {
  const algorithm = plannedAlgorithm(name, options);
  const configs = await roleConfigs(algorithm, options);
  const adapters = await roleAdapters(algorithm, options, configs);
  const cluster = makeCluster({
    nNodes: options.n_nodes,
    nGpusPerNode: options.n_gpus_per_node,
  });
  const sizes = Object.entries(adapters).map(([role, specs]) => [
    role,
    specs.reduce((n, { size }) => n + size, 0),
  ]);
  const memoryOptions: MemoryOptions = {
    configs,
    adapters: Object.fromEntries(sizes) as Record<string, number>,
    workload: algorithm.workload,
    minibatches: algorithm.minibatches,
    elementBytes,
    roundedBytes: options.matmul_precision === 'f16' ? 4 : 0,
    zero1: true,
    keepActivations: Object.entries(algorithm.roleKeys).flatMap(([role, key]) =>
      options.models[key]?.gradient_checkpointing === false ? [role] : [],
    ),
  };
  const allocations = allocate(algorithm, options, cluster, memoryOptions);
  const resolved = resolveAllocations(algorithm.mfcs, allocations, cluster);
  for (const { model, parallel } of resolved.placements) {
    const config = configs[model.role]!;
    checkTensorParallel(config, parallel.tensorParallelSize);
    stageLayers(config, parallel.pipelineParallelSize);
  }
  const memory = planMemory(resolved, memoryOptions);
  const capacity = (options.capacity_gib ?? Infinity) * 2 ** 30;
  for (const [rank, { peak }] of memory)
    if (peak > capacity)
      throw new ConfigError(
        `rank ${rank} needs about ${(peak / 2 ** 30).toPrecision(3)} GiB, capacity_gib is ${options.capacity_gib!}; use more devices, more microbatches or allocation_mode=heuristic`,
      );
  return {
    ...resolved,
    cluster,
    allocations,
    algorithm,
    memory,
    moves: plannedMoves(resolved, configs, adapters, (rank) =>
      Math.floor(rank / cluster.gpusPerNode),
    ),
  };
}

async function roleConfigs(
  { roleKeys, scalarRoles }: PlannedAlgorithm,
  options: PlanOptions,
): Promise<Record<string, ModelConfig>> {
  const configs: Record<string, ModelConfig> = {};
  for (const [role, key] of Object.entries(roleKeys)) {
    const isCritic = scalarRoles.includes(role);
    const model = options.models[key]!;
    const hasPath = model.path !== null || model.config !== null;
    const preset = model.preset ?? (hasPath ? null : options.preset);
    if (preset === null && !hasPath)
      throw new ConfigError(
        `the shape of '${key}' is unknown; set ${key}.path, ${key}.preset or preset, one of ${presetNames.join(', ')}`,
      );
    configs[role] =
      preset === null ? await roleConfig(model, key, isCritic) : presetConfig(preset, isCritic);
  }
  return configs;
}

type Adapters = Readonly<Record<string, readonly ParamSpec[]>>;

/** Parameters of the adapters that are trained, by role. */
async function roleAdapters(
  { roleKeys }: PlannedAlgorithm,
  { models }: PlanOptions,
  configs: Readonly<Record<string, ModelConfig>>,
): Promise<Adapters> {
  const found: Record<string, readonly ParamSpec[]> = {};
  for (const [role, key] of Object.entries(roleKeys)) {
    const options = models[key]!;
    const config = configs[role]!;
    const { lora } = options;
    if (!hasLora(lora)) continue;
    const adapter = await adapterOf({ role: key, options: { ...options, lora } }, config);
    found[role] = loraSpecs(config, adapter.lora);
  }
  return found;
}

function allocate(
  { mfcs, callKeys, minibatches }: PlannedAlgorithm,
  options: PlanOptions,
  cluster: Cluster,
  memory: MemoryOptions,
): Allocations {
  const mode = parseAllocationMode(options.allocation_mode, cluster);
  if (mode.kind === 'heuristic')
    return heuristicAllocations({
      ...memory,
      mfcs,
      cluster,
      ...(options.capacity_gib === null ? {} : { capacity: options.capacity_gib * 2 ** 30 }),
    });
  return Object.fromEntries(
    mfcs.map((m) => {
      const call = options.calls[callKeys[m.name]!]!;
      const parallel = mode.kind === 'manual' ? toParallelism(call.parallel) : mode.parallel;
      const mesh = parseMesh(mode.kind === 'manual' ? call.device_mesh : null, cluster);
      const parts = parallel.dataParallelSize * (m.nMbs ?? 1);
      const items = Math.floor(m.nSeqs / (minibatches[m.name] ?? 1));
      if (items < parts)
        throw new ConfigError(
          `MFC '${m.name}' takes ${items} sequences at a time, ${parallel.dataParallelSize} data-parallel ranks × ${m.nMbs ?? 1} microbatches need ${parts}; raise dataset.train_bs_n_seqs`,
        );
      return [m.name, { mesh, parallel }];
    }),
  );
}

function plannedMoves(
  { mfcs, placements }: ResolvedPlan,
  configs: Readonly<Record<string, ModelConfig>>,
  adapters: Adapters,
  nodeOf: (rank: number) => number,
): PlannedMove[] {
  return mfcs.flatMap((mfc) =>
    (['before', 'after'] as const).flatMap((phase) =>
      ((phase === 'before' ? mfc.preHooks : mfc.postHooks) ?? []).flatMap((hook) => {
        const plan = planHook(hook, mfc, placements);
        return plan.kind === 'move'
          ? [{ mfc: mfc.name, phase, ...bytesOf(plan, placements, configs, adapters, nodeOf) }]
          : [];
      }),
    ),
  );
}

function bytesOf(
  { source, target }: HookPlan,
  placements: readonly Placement[],
  configs: Readonly<Record<string, ModelConfig>>,
  adapters: Adapters,
  nodeOf: (rank: number) => number,
) {
  const of = (model: HookPlan['source']) =>
    placements.find((p) => modelKey(p.model) === modelKey(model))!;
  const [a, b] = [of(source), of(target)];
  const [from, to] = [configs[source.role]!, configs[target.role]!];
  // As few segments as can be: only sizes matter here.
  const segment = 2 ** 34;
  // Every replica has the weights: an adapter alone is moved.
  const specs = adapters[source.role];
  const plan = planRealloc(
    replicaMaps(from, a.parallel, segment, specs),
    replicaMaps(to, b.parallel, segment, specs),
    {
      sourceRanks: a.ranks,
      targetRanks: b.ranks,
      nodeOf,
      skip: specs ? [] : unsharedParams(from, to),
    },
  );
  return {
    source: modelKey(source),
    target: modelKey(target),
    moved: plan.moved * elementBytes,
    crossNode: plan.crossNode * elementBytes,
    copied: plan.copied * elementBytes,
    busiest: Math.max(0, ...plan.sent.map((n, r) => n + plan.relayed[r]!)) * elementBytes,
  };
}
