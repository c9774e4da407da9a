/**
 * A graph as an SVG picture, layered (Sugiyama et al. 1981, the simple part of it): an MFC stands one row below its
 * lowest parent; within a row boxes go where their parents are; edges are curves with their keys. No library, no
 * fonts measured: widths are estimated from the number of characters.
 */
import { modelKey } from '@realhf/api';
import type { Graph } from './graph.js';

const [charWidth, boxHeight, gapX, gapY, margin] = [7, 44, 28, 78, 16];

interface Box {
  readonly name: string;
  readonly lines: readonly string[];
  readonly width: number;
  readonly row: number;
  /** Centre. */
  x: number;
}
interface Edge {
  readonly from: string;
  readonly to: string;
  readonly keys: readonly string[];
}

const dataset = 'dataset';

/** The text of an SVG file. The same graph gives the same text. */
export function graphSvg(graph: Graph): string {
  const edges = edgesOf(graph);
  const boxes = place(graph, edges);
  const width = Math.max(...boxes.map((b) => b.x + b.width / 2)) + margin;
  const height =
    (Math.max(...boxes.map((b) => b.row)) + 1) * (boxHeight + gapY) - gapY + 2 * margin;
  const byName = new Map(boxes.map((b) => [b.name, b]));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12">`,
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...edges.map((e) => drawEdge(byName.get(e.from)!, byName.get(e.to)!, e.keys)),
    ...boxes.map(drawBox),
    '</svg>',
    '',
  ].join('\n');
}

function edgesOf(graph: Graph): Edge[] {
  const fromData = graph.order.flatMap((to): Edge[] => {
    const keys = graph.nodes.get(to)!.mfc.inputKeys.filter((k) => !graph.producers.has(k));
    return keys.length > 0 ? [{ from: dataset, to, keys }] : [];
  });
  return [...fromData, ...graph.edges];
}

function place(graph: Graph, edges: readonly Edge[]): Box[] {
  const rows = new Map([[dataset, 0]]);
  const boxes: Box[] = [boxOf(dataset, [dataset], 0)];
  for (const name of graph.order) {
    const { mfc, parents } = graph.nodes.get(name)!;
    const row = 1 + Math.max(0, ...parents.map((p) => rows.get(p)!));
    rows.set(name, row);
    boxes.push(boxOf(name, [name, `${mfc.interfaceType} · ${modelKey(mfc.model)}`], row));
  }
  const byRow = [...new Set(rows.values())].map((r) => boxes.filter((b) => b.row === r));
  const widthOf = (row: readonly Box[]) =>
    row.reduce((sum, b) => sum + b.width, 0) + gapX * (row.length - 1);
  const centre = margin + Math.max(...byRow.map(widthOf)) / 2;
  for (const row of byRow) {
    // Mean place of the parents decides the order; ties keep the order of the graph.
    const wish = new Map(
      row.map((b) => {
        const at = edges.flatMap((e) =>
          e.to === b.name ? [boxes.find((p) => p.name === e.from)!.x] : [],
        );
        return [b, at.reduce((s, x) => s + x, 0) / Math.max(1, at.length)];
      }),
    );
    let x = centre - widthOf(row) / 2;
    for (const b of row.sort((a, c) => wish.get(a)! - wish.get(c)!)) {
      b.x = x + b.width / 2;
      x += b.width + gapX;
    }
  }
  return boxes;
}

function boxOf(name: string, lines: readonly string[], row: number): Box {
  const width = Math.max(...lines.map((l) => l.length)) * charWidth + 24;
  return { name, lines, width, row, x: 0 };
}

const top = (b: Box) => margin + b.row * (boxHeight + gapY);
const escape = (s: string) =>
  s
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');

function drawBox(b: Box): string {
  const y = top(b);
  const isData = b.name === dataset && b.row === 0;
  const text = b.lines.map((line, i) => {
    const at = y + boxHeight / 2 + 4 + (i - (b.lines.length - 1) / 2) * 16;
    const style = i === 0 ? 'font-weight="bold"' : 'fill="#444"';
    return `<text x="${b.x}" y="${at}" text-anchor="middle" ${style}>${escape(line)}</text>`;
  });
  return `<rect x="${b.x - b.width / 2}" y="${y}" width="${b.width}" height="${boxHeight}" rx="${isData ? 20 : 6}" fill="${isData ? '#eef' : '#f6f6f6'}" stroke="#555"/>${text.join('')}`;
}

/** The keys stand in a title, which a browser shows at the pointer, and short lists beside the arrow too. */
function drawEdge(a: Box, b: Box, keys: readonly string[]): string {
  const [y1, y2] = [top(a) + boxHeight, top(b)];
  const bend = (y2 - y1) / 2;
  const label = keys.length > 1 ? `${keys.length} keys` : keys[0]!;
  const [mx, my] = [(a.x + b.x) / 2, (y1 + y2) / 2];
  return `<g><title>${escape(keys.join(', '))}</title><path d="M${a.x} ${y1}C${a.x} ${y1 + bend} ${b.x} ${y2 - bend} ${b.x} ${y2}" fill="none" stroke="#555" marker-end="url(#tip)"/><text x="${mx}" y="${my}" text-anchor="middle" font-size="10" fill="#666" stroke="#fff" stroke-width="3" paint-order="stroke">${escape(label)}</text></g>`;
}
