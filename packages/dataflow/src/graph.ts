/**
 * The dataflow graph (reference: F3, F4): nodes are MFCs, an edge runs from the producer of a key to each consumer
 * of it; a key without a producer comes from the dataset. Unlike the reference a second producer, a cycle and an
 * unknown key are errors. A *step* is the largest `nSeqs` of the graph; an MFC with fewer runs several times per step.
 */
import { GraphError, type MFCDef } from '@realhf/api';
import { checkDefinitions } from './graph-checks.js';
import { nearestName } from './nearest.js';

/** A call and its neighbours. */
export interface GraphNode {
  readonly mfc: MFCDef;
  /** Names of MFCs that produce an input of this one, in topological order. */
  readonly parents: readonly string[];
  /** Names of MFCs that consume an output of this one, in topological order. */
  readonly children: readonly string[];
  /** Everything reachable along edges, in topological order. */
  readonly successors: readonly string[];
  /** No parents: runs as soon as the dataset has delivered. */
  readonly isSrc: boolean;
  /** No children. */
  readonly isDst: boolean;
  /** No successor runs on the same role: after it the role is idle until the next step. */
  readonly isDstOfRole: boolean;
  /** Calls in one step: stepSize / nSeqs. */
  readonly callsPerStep: number;
}

/** Keys that flow from one call to another. */
export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly keys: readonly string[];
}

/** A checked dataflow graph. */
export interface Graph {
  /** By MFC name, in topological order (ties: order of definition). */
  readonly nodes: ReadonlyMap<string, GraphNode>;
  readonly edges: readonly GraphEdge[];
  /** MFC names, producers before consumers. */
  readonly order: readonly string[];
  /** Keys that the dataset delivers, used or not. */
  readonly datasetKeys: readonly string[];
  /** Key → the MFC that makes it; keys of the dataset are absent. */
  readonly producers: ReadonlyMap<string, string>;
  /** Key → MFCs that read it, in topological order. */
  readonly consumers: ReadonlyMap<string, readonly string[]>;
  /** Items of one step: the largest nSeqs. */
  readonly stepSize: number;
}

/** What comes from the dataset. */
export interface BuildGraphOptions {
  readonly datasetKeys: Iterable<string>;
}

/** Checks the definitions and connects them; throws GraphError in one line that names the MFCs at fault. */
export function buildGraph(mfcs: readonly MFCDef[], options: BuildGraphOptions): Graph {
  checkDefinitions(mfcs);
  const datasetKeys = [...new Set(options.datasetKeys)];
  const producers = producersOf(mfcs, datasetKeys);
  checkInputs(mfcs, producers, datasetKeys);

  const defs = new Map(mfcs.map((m) => [m.name, m]));
  const parentsOf = new Map(
    mfcs.map((m) => [
      m.name,
      new Set(m.inputKeys.flatMap((k) => (producers.has(k) ? [producers.get(k)!] : []))),
    ]),
  );
  const order = topologicalOrder(parentsOf);
  const stepSize = Math.max(...mfcs.map((m) => m.nSeqs));
  for (const m of mfcs)
    if (stepSize % m.nSeqs !== 0) {
      const largest = mfcs.find((o) => o.nSeqs === stepSize)!;
      throw new GraphError(
        `MFC '${m.name}' takes nSeqs ${m.nSeqs}, which does not divide nSeqs ${stepSize} of MFC '${largest.name}'; make the one a multiple of the other`,
      );
    }

  const successorsOf = new Map<string, ReadonlySet<string>>();
  const childrenOf = (name: string) => order.filter((c) => parentsOf.get(c)!.has(name));
  for (const name of order.toReversed()) {
    const children = childrenOf(name);
    successorsOf.set(
      name,
      new Set([...children, ...children.flatMap((c) => [...successorsOf.get(c)!])]),
    );
  }

  const nodes = new Map<string, GraphNode>();
  for (const name of order) {
    const mfc = defs.get(name)!;
    const parents = order.filter((p) => parentsOf.get(name)!.has(p));
    const children = childrenOf(name);
    const successors = order.filter((s) => successorsOf.get(name)!.has(s));
    nodes.set(name, {
      mfc,
      parents,
      children,
      successors,
      isSrc: parents.length === 0,
      isDst: children.length === 0,
      isDstOfRole: !successors.some((s) => defs.get(s)!.model.role === mfc.model.role),
      callsPerStep: stepSize / mfc.nSeqs,
    });
  }

  const edges = order.flatMap((from) =>
    childrenOf(from).map((to) => ({
      from,
      to,
      keys: defs.get(to)!.inputKeys.filter((k) => producers.get(k) === from),
    })),
  );
  const keys = [...new Set([...datasetKeys, ...mfcs.flatMap((m) => m.outputKeys)])];
  const consumers = new Map(
    keys.map((k) => [k, order.filter((name) => defs.get(name)!.inputKeys.includes(k))]),
  );
  return { nodes, edges, order, datasetKeys, producers, consumers, stepSize };
}

function producersOf(mfcs: readonly MFCDef[], datasetKeys: readonly string[]): Map<string, string> {
  const producers = new Map<string, string>();
  for (const m of mfcs)
    for (const key of m.outputKeys) {
      const other = producers.get(key);
      if (other !== undefined)
        throw new GraphError(
          `key '${key}' is produced by both MFC '${other}' and MFC '${m.name}'; rename one with outputKeyRemap`,
        );
      if (datasetKeys.includes(key))
        throw new GraphError(
          `key '${key}' is produced by MFC '${m.name}' and delivered by the dataset; rename it with outputKeyRemap`,
        );
      producers.set(key, m.name);
    }
  return producers;
}

function checkInputs(
  mfcs: readonly MFCDef[],
  producers: ReadonlyMap<string, string>,
  datasetKeys: readonly string[],
): void {
  for (const m of mfcs)
    for (const key of m.inputKeys) {
      if (producers.has(key) || datasetKeys.includes(key)) continue;
      const near = nearestName(key, [...producers.keys(), ...datasetKeys]);
      const hint =
        near === undefined
          ? `the dataset delivers ${datasetKeys.join(', ') || 'nothing'}`
          : `did you mean '${near}'?`;
      throw new GraphError(
        `input key '${key}' of MFC '${m.name}' is neither produced by an MFC nor in the dataset; ${hint}`,
      );
    }
}

/** Kahn's algorithm, ties in order of definition; throws GraphError with a cycle if there is one. */
function topologicalOrder(parentsOf: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const order: string[] = [];
  const left = new Map(parentsOf);
  while (left.size > 0) {
    const next = [...left].find(([, parents]) => ![...parents].some((p) => left.has(p)));
    if (!next)
      throw new GraphError(
        `the graph has a cycle: ${cycleOf(left).join(' → ')}; remove one of these inputs`,
      );
    order.push(next[0]);
    left.delete(next[0]);
  }
  return order;
}

/** Every node left has a parent left, so walking up meets itself; the loop is returned in edge direction. */
function cycleOf(left: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const path: string[] = [];
  let at = left.keys().next().value!;
  while (!path.includes(at)) {
    path.push(at);
    at = [...left.get(at)!].find((p) => left.has(p))!;
  }
  const loop = path.slice(path.indexOf(at)).reverse();
  // Start with the node defined first, so that the message does not depend on where the walk began.
  const first = [...left.keys()].find((n) => loop.includes(n))!;
  const turn = loop.indexOf(first);
  return [...loop.slice(turn), ...loop.slice(0, turn), first];
}
