/** Import cycles among our own files, type-only imports included: strongly connected components (Tarjan 1972). */
import { importsOf, resolveImport, type Sources } from './imports.js';

/** One line per cycle, its files in order of discovery. */
export function findCycles(sources: Sources): string[] {
  const edges = new Map<string, string[]>();
  for (const [path, text] of sources) {
    const targets = importsOf(path, text).map((i) => resolveImport(sources, path, i.specifier));
    edges.set(
      path,
      targets.filter((t) => t !== undefined),
    );
  }
  return stronglyConnected(edges)
    .filter((c) => c.length > 1 || edges.get(c[0]!)!.includes(c[0]!))
    .map((c) => `import cycle: ${c.join(', ')}; move what they share to a file of its own`);
}

function stronglyConnected(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const onStack = new Set<string>();
  const components: string[][] = [];
  const visit = (v: string): void => {
    const at = index.size;
    index.set(v, at);
    low.set(v, at);
    stack.push(v);
    onStack.add(v);
    for (const w of edges.get(v) ?? []) {
      if (!index.has(w)) {
        visit(w);
        low.set(v, Math.min(low.get(v)!, low.get(w)!));
      } else if (onStack.has(w)) low.set(v, Math.min(low.get(v)!, index.get(w)!));
    }
    if (low.get(v) !== at) return;
    const component = stack.splice(stack.indexOf(v));
    for (const w of component) onStack.delete(w);
    components.push(component);
  };
  for (const v of edges.keys()) if (!index.has(v)) visit(v);
  return components;
}
