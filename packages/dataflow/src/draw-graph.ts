/** Draws a graph as plain text and as a Mermaid flowchart. Pure: the same graph gives the same text. */
import { modelKey } from '@realhf/api';
import type { Graph, GraphNode } from './graph.js';

/** A graph as text and as Mermaid. */
export interface GraphDrawing {
  /** One line per MFC in topological order, with what it reads (and from whom) and what it makes. */
  readonly text: string;
  /** Source of a Mermaid `flowchart TD`. */
  readonly mermaid: string;
}

/** Text for terminals and logs, Mermaid for pages. */
export function drawGraph(graph: Graph): GraphDrawing {
  return { text: drawText(graph), mermaid: drawMermaid(graph) };
}

/** Keys by where they come from; the dataset first, then producers in topological order. */
function inputsBySource(graph: Graph, node: GraphNode): (readonly [string, string[]])[] {
  return ['dataset', ...node.parents].flatMap((source) => {
    const keys = node.mfc.inputKeys.filter((k) => (graph.producers.get(k) ?? 'dataset') === source);
    return keys.length > 0 ? [[source, keys] as const] : [];
  });
}

function drawText(graph: Graph): string {
  const lines = [`step of ${graph.stepSize} sequences`];
  for (const node of graph.nodes.values()) {
    const { mfc } = node;
    const calls = node.callsPerStep > 1 ? ` × ${node.callsPerStep} calls` : '';
    lines.push(
      `${mfc.name}  ${mfc.interfaceType} ${modelKey(mfc.model)} ${mfc.interfaceImpl.type_}, ${mfc.nSeqs} sequences${calls}`,
    );
    for (const [source, keys] of inputsBySource(graph, node))
      lines.push(`  ← ${source}: ${keys.join(', ')}`);
    if (mfc.outputKeys.length > 0) lines.push(`  → ${mfc.outputKeys.join(', ')}`);
    for (const hook of mfc.preHooks ?? []) lines.push(`  before: ${describeHook(hook)}`);
    for (const hook of mfc.postHooks ?? []) lines.push(`  after: ${describeHook(hook)}`);
  }
  return lines.join('\n');
}

type Hook = NonNullable<GraphNode['mfc']['postHooks']>[number];

function describeHook(hook: Hook): string {
  if (hook.type === 'offload') return 'offload';
  const eta = hook.eta === undefined || hook.eta === 1 ? '' : ` eta ${hook.eta}`;
  return hook.source
    ? `param_realloc from ${modelKey(hook.source)}${eta}`
    : `param_realloc to ${hook.target ? modelKey(hook.target) : '?'}${eta}`;
}

function drawMermaid(graph: Graph): string {
  // Mermaid reserves words such as `end` and forbids most punctuation in ids: number the nodes, label them.
  const id = new Map(graph.order.map((name, i) => [name, `m${i}`]));
  const label = (s: string) => s.replaceAll('"', '#quot;');
  const lines = ['flowchart TD', '  dataset[(dataset)]'];
  for (const { mfc } of graph.nodes.values())
    lines.push(
      `  ${id.get(mfc.name)!}["${label(mfc.name)}<br/>${mfc.interfaceType} · ${label(modelKey(mfc.model))}"]`,
    );
  for (const node of graph.nodes.values())
    for (const [source, keys] of inputsBySource(graph, node))
      lines.push(
        `  ${id.get(source) ?? 'dataset'} -->|"${label(keys.join(', '))}"| ${id.get(node.mfc.name)!}`,
      );
  return lines.join('\n');
}
