/** A plan as text and as JSON. */
import { modelKey, type MFCDef, type MFCHook } from '@realhf/api';
import {
  buildGraph,
  clusterSize,
  drawGraph,
  formatMesh,
  formatParallelism,
  planHook,
  totalMemory,
  type MemoryUse,
  type RankMemory,
} from '@realhf/dataflow';

import type { Plan } from './make-plan.js';

const gib = (bytes: number) => (bytes === 0 ? '0' : (bytes / 2 ** 30).toFixed(2));

/** Columns, the first ones as wide as they need. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  return rows.map((r) => `  ${r.map((c, i) => c.padEnd(widths[i]!)).join('  ')}`.trimEnd());
}

function hooksText(
  mfc: MFCDef,
  hooks: readonly MFCHook[] | undefined,
  { placements }: Plan,
): string {
  const texts = (hooks ?? []).map((hook) => {
    const { kind, source, target, eta } = planHook(hook, mfc, placements);
    if (kind !== 'move') return kind;
    const share = eta === 1 ? '' : ` eta ${eta}`;
    return modelKey(target) === modelKey(mfc.model)
      ? `fill from ${modelKey(source)}${share}`
      : `to ${modelKey(target)}${share}`;
  });
  return texts.join(', ') || '-';
}

export function planText(name: string, plan: Plan): string {
  const { cluster, mfcs, allocations, algorithm } = plan;
  const graph = buildGraph(mfcs, { datasetKeys: algorithm.datasetKeys });
  const { promptTokens, newTokens, sequences = 1 } = algorithm.workload;
  const lines = [
    `${name} on ${clusterSize(cluster)} devices (${cluster.nodes.length} × ${cluster.gpusPerNode}), a step of ${graph.stepSize} items of ${sequences} × up to ${promptTokens + newTokens} tokens`,
    '',
    'calls',
    ...table([
      ['MFC', 'type', 'model', 'mesh', 'layout', 'n_mbs', 'before', 'after'],
      ...[...graph.nodes.values()].map(({ mfc }) => {
        const { mesh, parallel } = allocations[mfc.name]!;
        return [
          mfc.name,
          mfc.interfaceType,
          modelKey(mfc.model),
          formatMesh(mesh, cluster),
          formatParallelism(parallel) + (parallel.useSequenceParallel ? ' sp' : ''),
          String(mfc.nMbs ?? 1),
          hooksText(mfc, mfc.preHooks, plan),
          hooksText(mfc, mfc.postHooks, plan),
        ];
      }),
    ]),
    '',
    'memory of a rank at its peak, GiB (an estimate)',
    ...table([
      ['ranks', 'during', 'parameters', 'gradients', 'optimizer', 'activations', 'kv cache', 'sum'],
      ...ranksAlike(plan.memory).map(({ ranks, memory }) => {
        const [mfc, use] = peakOf(memory);
        const parts = [use.parameters, use.gradients, use.optimizer, use.activations, use.kvCache];
        return [ranks, mfc, ...parts.map(gib), gib(totalMemory(use))];
      }),
    ]),
    '',
    'reallocation of parameters each step, GiB',
    ...(plan.moves.length === 0
      ? ['  none: every role has one layout']
      : table([
          [
            'MFC',
            'when',
            'from',
            'to',
            'between ranks',
            'between nodes',
            'within',
            'busiest sender',
          ],
          ...plan.moves.map((m) => [
            m.mfc,
            m.phase,
            m.source,
            m.target,
            ...[m.moved, m.crossNode, m.copied, m.busiest].map(gib),
          ]),
        ])),
    '',
    'graph',
    ...drawGraph(graph)
      .text.split('\n')
      .map((l) => `  ${l}`),
  ];
  return `${lines.join('\n')}\n`;
}

/** Bytes; one object per call, rank and move. */
export function planJson(name: string, plan: Plan): unknown {
  const { cluster, mfcs, allocations } = plan;
  return {
    algorithm: name,
    nodes: cluster.nodes,
    gpusPerNode: cluster.gpusPerNode,
    workload: plan.algorithm.workload,
    calls: mfcs.map((m) => ({
      name: m.name,
      type: m.interfaceType,
      model: modelKey(m.model),
      mesh: formatMesh(allocations[m.name]!.mesh, cluster),
      parallel: allocations[m.name]!.parallel,
      preHooks: m.preHooks ?? [],
      postHooks: m.postHooks ?? [],
    })),
    placements: plan.placements,
    ranks: [...plan.memory].map(([rank, { resident, during, peak }]) => ({
      rank,
      resident,
      during,
      peak,
    })),
    reallocations: plan.moves,
  };
}

function peakOf({ during }: RankMemory): [mfc: string, use: MemoryUse] {
  return Object.entries(during).reduce((a, b) => (totalMemory(b[1]) > totalMemory(a[1]) ? b : a));
}

/** Neighbouring ranks with the same peak are one line: `0-3`. */
function ranksAlike(memory: ReadonlyMap<number, RankMemory>) {
  const groups: { first: number; last: number; text: string; memory: RankMemory }[] = [];
  for (const [rank, m] of memory) {
    const text = JSON.stringify(peakOf(m));
    const group = groups.at(-1);
    if (group?.text === text && group.last === rank - 1) group.last = rank;
    else groups.push({ first: rank, last: rank, text, memory: m });
  }
  return groups.map(({ first, last, memory: m }) => ({
    ranks: first === last ? String(first) : `${first}-${last}`,
    memory: m,
  }));
}
