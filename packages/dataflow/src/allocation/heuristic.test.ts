import type { MFCDef, ModelConfig } from '@realhf/api';
import { worldSize } from '@realhf/comm';
import { describe, expect, it } from 'vitest';
import { llama7b, shape } from '../__fixtures__/configs.js';
import { dpoMFCs } from '../algorithms/dpo.js';
import { grpoMFCs } from '../algorithms/grpo.js';
import { ppoMFCs } from '../algorithms/ppo.js';
import { rwMFCs } from '../algorithms/rw.js';
import { sftMFCs } from '../algorithms/sft.js';
import { heuristicAllocations } from './heuristic.js';
import { planMemory } from './memory.js';
import { allMeshes, formatMesh, makeCluster, meshRanks, type Cluster } from './mesh.js';
import { formatParallelism } from './mode.js';
import { resolveAllocations } from './placement.js';

const logitsMask = false;
const algorithms: Readonly<Record<string, (nSeqs: number) => MFCDef[]>> = {
  ppo: (nSeqs) => ppoMFCs({ nSeqs, logitsMask }),
  grpo: (nSeqs) => grpoMFCs({ nSeqs, logitsMask }),
  dpo: (nSeqs) => dpoMFCs({ nSeqs }),
  sft: (nSeqs) => sftMFCs({ nSeqs }),
  rw: (nSeqs) => rwMFCs({ nSeqs }),
  gen: (nSeqs) => [{ ...ppoMFCs({ nSeqs, logitsMask })[0]! }],
};
const workload = { promptTokens: 64, newTokens: 64, sequences: 2 };
const configsOf = (change: Partial<ModelConfig>) => ({
  actor: shape(change),
  ref: shape(change),
  default: shape(change),
  critic: shape({ ...change, isCritic: true }),
  reward: shape({ ...change, isCritic: true }),
});

const clusters: Cluster[] = [];
for (let nNodes = 1; nNodes <= 16; nNodes++)
  for (let nGpusPerNode = 1; nNodes * nGpusPerNode <= 16; nGpusPerNode++)
    clusters.push(makeCluster({ nNodes, nGpusPerNode }));

function expectValid(
  mfcs: readonly MFCDef[],
  cluster: Cluster,
  configs: ReturnType<typeof configsOf>,
  capacity?: number,
) {
  const options = { mfcs, cluster, configs, workload, ...(capacity ? { capacity } : {}) };
  const plan = heuristicAllocations(options);
  const legal = new Set(allMeshes(cluster).map((m) => formatMesh(m, cluster)));
  const faults = mfcs.flatMap((m) => {
    const { mesh, parallel } = plan[m.name]!;
    const { dataParallelSize: dp, tensorParallelSize: tp, pipelineParallelSize: pp } = parallel;
    const config = configs[m.model.role as keyof typeof configs];
    const [perRank, group] = [config.nHeads / tp, config.nHeads / config.nKvHeads];
    const rules = {
      'mesh is none': legal.has(formatMesh(mesh, cluster)),
      'product is not the mesh': worldSize(parallel) === meshRanks(mesh, cluster).length,
      'heads are cut':
        Number.isInteger(perRank) && Math.min(perRank % group, group % perRank) === 0,
      'tp straddles nodes': tp <= cluster.gpusPerNode,
      'more stages than blocks': pp <= config.nLayers,
      'fewer items than dp': m.nSeqs >= dp * (m.nMbs ?? 1),
      'unequal counts': !m.balancedDp || m.nSeqs % dp === 0,
    };
    const broken = Object.entries(rules).flatMap(([rule, kept]) => (kept ? [] : [rule]));
    return broken.map((r) => `${m.name} ${formatParallelism(parallel)} ${mesh.nodes.length}: ${r}`);
  });
  expect(faults).toEqual([]);
  // Throws on plans that F5 to F8 forbid.
  const resolved = resolveAllocations(mfcs, plan, cluster);
  const peak = Math.max(...[...planMemory(resolved, options).values()].map((r) => r.peak));
  if (capacity) expect(peak).toBeLessThanOrEqual(capacity);
  return { plan, peak };
}

describe('heuristicAllocations', () => {
  it.each(Object.keys(algorithms))('%s: valid for every cluster of up to 16 devices', (name) => {
    for (const cluster of clusters)
      for (const change of [
        {},
        { nHeads: 3, nKvHeads: 1, nLayers: 2 },
        { nHeads: 1, nKvHeads: 1, nLayers: 1 },
      ])
        for (const nSeqs of [1, 7, 256])
          expectValid(algorithms[name]!(nSeqs), cluster, configsOf(change));
  });

  it('keeps within a capacity, or says what is missing', () => {
    const configs = configsOf({});
    for (const cluster of clusters) {
      const mfcs = algorithms.ppo!(8);
      const { peak } = expectValid(mfcs, cluster, configs);
      let least: unknown;
      for (const capacity of [peak, peak * 0.7, peak * 0.4, peak * 0.1]) {
        try {
          expectValid(mfcs, cluster, configs, capacity);
          expect(least).toBeUndefined();
        } catch (e) {
          least = e;
          expect(String(e)).toMatch(
            /no allocation fits: rank \d+ needs about .* GiB.*a device has/,
          );
        }
      }
    }
  });

  it('PPO of 7B models on a node of 8: trainings side by side, the critic keeps its layout', () => {
    const cluster = makeCluster({ nNodes: 1, nGpusPerNode: 8 });
    const mfcs = algorithms.ppo!(16);
    const plan = heuristicAllocations({ mfcs, cluster, configs: configsOf(llama7b), workload });
    const texts = Object.fromEntries(
      Object.entries(plan).map(([name, { mesh, parallel }]) => [
        name,
        `${formatMesh(mesh, cluster)} ${formatParallelism(parallel)}`,
      ]),
    );
    expect(texts).toMatchObject({
      actor_gen: 'NODE01 d8m1p1',
      ref_inf: 'NODE01 d8m1p1',
      rew_inf: 'NODE01:0,1,2,3 d4m1p1',
      actor_train: 'NODE01:0,1,2,3 d1m4p1',
      critic_train: 'NODE01:4,5,6,7 d1m4p1',
      critic_inf: 'NODE01:4,5,6,7 d1m4p1',
    });
    expect(plan.actor_train!.parallel.useSequenceParallel).toBe(true);
  });
});
