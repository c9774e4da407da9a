/**
 * `heuristic` allocation for any graph and any number of nodes and devices (reference: L7 is where it starts from). MFCs
 * of one depth of the graph can run at the same time: pairs of them share the cluster side by side in proportion to
 * their work, an odd one, the largest, takes it whole. In its mesh a call gets as little tensor and pipeline
 * parallelism as memory and batch size allow; an MFC of a trained role keeps the training layout where meshes agree.
 */
import {
  ConfigError,
  type DeviceMesh,
  type MFCDef,
  type ModelConfig,
  type Parallelism,
} from '@realhf/api';
import { allMeshes, meshRanks, parseMesh, type Cluster } from './mesh.js';
import {
  callMemory,
  planMemory,
  residentMemory,
  totalMemory,
  type MemoryOptions,
} from './memory.js';
import { modelSize } from './model-size.js';
import { layout } from './mode.js';
import { resolveAllocations, type Allocations, type MFCAllocation } from './placement.js';

/** Calls, cluster and workload that layouts are looked for. */
export interface HeuristicOptions extends MemoryOptions {
  readonly mfcs: readonly MFCDef[];
  readonly cluster: Cluster;
  /** Bytes of a device. Given: a plan that does not fit is an error. Default: 80 GiB, as a wish. */
  readonly capacity?: number;
  /** Whether a model can be cut over so many tensor-parallel ranks. Default: heads and MLP say so. */
  readonly tensorParallelFits?: (config: ModelConfig, size: number) => boolean;
}

/** How hard to save memory, tried in this order until the plan fits. */
type Thrift = 'no' | 'smallest parts' | 'whole cluster';

/** A valid plan; throws ConfigError if none fits the capacity that is given. */
export function heuristicAllocations(options: HeuristicOptions): Allocations {
  const { capacity, mfcs, cluster } = options;
  let best: { peak: number; rank: number } | undefined;
  for (const thrift of ['no', 'smallest parts', 'whole cluster'] as const) {
    const plan = allocate(options, thrift);
    const peaks = planMemory(resolveAllocations(mfcs, plan, cluster), options);
    const [rank, { peak }] = [...peaks].reduce((a, b) => (b[1].peak > a[1].peak ? b : a));
    if (peak <= (capacity ?? Infinity)) return plan;
    if (!best || peak < best.peak) best = { peak, rank };
  }
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
  throw new ConfigError(
    `no allocation fits: rank ${best!.rank} needs about ${gib(best!.peak)}, a device has ${gib(capacity!)}; use more devices, smaller models or a smaller batch`,
  );
}

function allocate(options: HeuristicOptions, thrift: Thrift): Allocations {
  const { mfcs, cluster } = options;
  const chosen: Record<string, MFCAllocation> = {};
  const whole = parseMesh(null, cluster);
  const trainerOf = (m: MFCDef) =>
    mfcs.find((o) => o.interfaceType === 'train_step' && o.model.role === m.model.role);
  const place = (m: MFCDef, mesh: DeviceMesh) => {
    const trainer = trainerOf(m);
    const like = trainer && trainer !== m ? chosen[trainer.name] : undefined;
    chosen[m.name] = choose(m, mesh, like, options, thrift);
  };
  // Deepest first: the layouts of training are known when generation and inference of the same role are placed.
  for (const group of depths(mfcs).reverse()) {
    const left = [...group].sort((a, b) => work(b, options) - work(a, options));
    if (thrift === 'whole cluster') {
      for (const m of left) place(m, whole);
      continue;
    }
    if (left.length % 2 === 1) place(left.shift()!, whole);
    for (let i = 0; i < left.length; i += 2) {
      const pair = [left[i]!, left[i + 1]!];
      // The side on which a role trains is its side.
      const first = pair.findIndex((m) => startsAt(chosen[trainerOf(m)?.name ?? ''], whole) === 0);
      if (first === 1) pair.reverse();
      const [a, b] = pair as [MFCDef, MFCDef];
      const halves = split(cluster, work(a, options) / (work(a, options) + work(b, options)));
      place(a, halves[0]);
      place(b, halves[1]);
    }
  }
  return Object.fromEntries(mfcs.map((m) => [m.name, chosen[m.name]!]));
}

/** 0 where a mesh that is not the whole begins with its first device, 1 elsewhere, undefined for the whole or none. */
function startsAt(a: MFCAllocation | undefined, whole: DeviceMesh): 0 | 1 | undefined {
  if (!a) return undefined;
  const { nodes, devices } = a.mesh;
  if (nodes.length === whole.nodes.length && devices.length === whole.devices.length)
    return undefined;
  return nodes[0] === whole.nodes[0] && devices[0] === whole.devices[0] ? 0 : 1;
}

/** MFCs by the longest way from the dataset. */
function depths(mfcs: readonly MFCDef[]): MFCDef[][] {
  const depth = new Map<MFCDef, number>();
  const of = (m: MFCDef): number => {
    const known = depth.get(m);
    if (known !== undefined) return known;
    const parents = mfcs.filter((p) => p.outputKeys.some((k) => m.inputKeys.includes(k)));
    const d = parents.length === 0 ? 0 : 1 + Math.max(...parents.map(of));
    depth.set(m, d);
    return d;
  };
  const groups: MFCDef[][] = [];
  for (const m of mfcs) (groups[of(m)] ??= []).push(m);
  return groups;
}

/** In any unit: parameters, three times over for a train_step. */
function work(m: MFCDef, { configs }: HeuristicOptions): number {
  const config = configs[m.model.role];
  return (config ? modelSize(config) : 1) * (m.interfaceType === 'train_step' ? 3 : 1);
}

/** Two meshes side by side, the first with about `share` of the devices; both the whole where there is one device. */
function split(cluster: Cluster, share: number): [DeviceMesh, DeviceMesh] {
  const { nodes, gpusPerNode } = cluster;
  const whole = parseMesh(null, cluster);
  const units = nodes.length > 1 ? nodes.length : gpusPerNode;
  if (units === 1) return [whole, whole];
  const n = Math.min(units - 1, Math.max(1, Math.round(units * share)));
  return nodes.length > 1
    ? [
        { nodes: nodes.slice(0, n), devices: whole.devices },
        { nodes: nodes.slice(n), devices: whole.devices },
      ]
    : [
        { nodes, devices: whole.devices.slice(0, n) },
        { nodes, devices: whole.devices.slice(n) },
      ];
}

/** The best layout in the mesh, or in the largest mesh within it that has one. One device always has. */
function choose(
  m: MFCDef,
  mesh: DeviceMesh,
  like: MFCAllocation | undefined,
  options: HeuristicOptions,
  thrift: Thrift,
): MFCAllocation {
  const { cluster } = options;
  const inside = new Set(meshRanks(mesh, cluster));
  for (const part of allMeshes(cluster)) {
    const ranks = meshRanks(part, cluster);
    if (!ranks.every((r) => inside.has(r))) continue;
    const found = layouts(m, part, options);
    if (found.length === 0) continue;
    const same = like && meshRanks(like.mesh, cluster).join() === ranks.join();
    if (same && found.some((p) => sameSizes(p, like.parallel)))
      return { mesh: part, parallel: like.parallel };
    const price = (p: Parallelism) => cost(m, p, options, thrift);
    const parallel = found.reduce((a, b) => (less(price(b), price(a)) ? b : a));
    const sequence = m.interfaceType === 'train_step' && parallel.tensorParallelSize > 1;
    return { mesh: part, parallel: { ...parallel, useSequenceParallel: sequence } };
  }
  throw new ConfigError(
    `MFC '${m.name}' with ${m.nSeqs} sequences and ${m.nMbs ?? 1} microbatches has no layout, not even on one device; lower n_mbs or raise the batch size`,
  );
}

/** Layouts that fill the mesh and that model and batch allow. */
function layouts(m: MFCDef, mesh: DeviceMesh, options: HeuristicOptions): Parallelism[] {
  const { configs, cluster, minibatches, tensorParallelFits = cutsHeads } = options;
  const config = configs[m.model.role];
  const size = mesh.nodes.length * mesh.devices.length;
  const items = Math.floor(m.nSeqs / (minibatches?.[m.name] ?? 1));
  const found: Parallelism[] = [];
  for (let tp = 1; tp <= mesh.devices.length; tp++) {
    // A tensor-parallel group does not straddle nodes.
    if (size % tp !== 0 || (mesh.nodes.length > 1 && cluster.gpusPerNode % tp !== 0)) continue;
    if (config && !tensorParallelFits(config, tp)) continue;
    for (let pp = 1; pp <= Math.min(size / tp, config?.nLayers ?? 1); pp++) {
      const dp = size / tp / pp;
      if (!Number.isInteger(dp) || items < dp * (m.nMbs ?? 1)) continue;
      if (m.balancedDp === true && m.nSeqs % dp !== 0) continue;
      found.push(layout(dp, tp, pp));
    }
  }
  return found;
}

/** Whole q heads and MLP columns per rank, and no rank's q heads straddle the groups that share a kv head. */
function cutsHeads(config: ModelConfig, size: number): boolean {
  if (config.nHeads % size !== 0 || config.intermediateDim % size !== 0) return false;
  const perRank = config.nHeads / size;
  const group = config.nHeads / config.nKvHeads;
  return perRank % group === 0 || group % perRank === 0;
}

const sameSizes = (a: Parallelism, b: Parallelism) =>
  a.dataParallelSize === b.dataParallelSize &&
  a.tensorParallelSize === b.tensorParallelSize &&
  a.pipelineParallelSize === b.pipelineParallelSize;

/** Smaller is better, first number first: too large for half a device, then what its collectives and bubbles cost. */
function cost(
  m: MFCDef,
  p: Parallelism,
  options: HeuristicOptions,
  thrift: Thrift,
): readonly number[] {
  const config = options.configs[m.model.role];
  if (!config) return [0, 0];
  const trains = m.interfaceType === 'train_step';
  const bytes =
    totalMemory(residentMemory(config, p, trains, options, options.adapters?.[m.model.role])) +
    totalMemory(callMemory(m, config, p, options));
  const room = (options.capacity ?? 80 * 2 ** 30) / 2;
  const price = Math.log2(p.tensorParallelSize) + 2 * Math.log2(p.pipelineParallelSize);
  return thrift === 'no' ? [Math.max(0, bytes - room), price] : [bytes, price];
}

const less = (a: readonly number[], b: readonly number[]) => {
  const i = a.findIndex((x, at) => x !== b[at]);
  return i >= 0 && a[i]! < b[i]!;
};
