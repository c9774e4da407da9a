/** A reallocation plan as text: what each rank keeps, who sends what to whom, along which chains. */
import { blockElements } from './realloc-blocks.js';
import type { ReallocPlan } from './realloc-plan.js';

/** A table (rows: whose parameters, columns: who gets them, in elements; the diagonal is copied in place) and the chains. */
export function drawRealloc(plan: ReallocPlan): string {
  const world = plan.sent.length;
  const ranks = Array.from({ length: world }, (_, r) => r);
  const table = ranks.map(() => new Array<number>(world).fill(0));
  for (const { rank, copies } of plan.locals)
    for (const c of copies) table[rank]![rank]! += blockElements(c.blocks);
  const chains = new Map<string, { messages: number; elements: number }>();
  for (const { from, to, length } of plan.transfers) {
    for (const rank of to) table[from]![rank]! += length;
    const name = [from, ...to].join(' → ');
    const known = chains.get(name) ?? { messages: 0, elements: 0 };
    chains.set(name, { messages: known.messages + 1, elements: known.elements + length });
  }
  const cells = [
    ['', ...ranks.map((r) => `to ${r}`)],
    ...table.map((row, r) => [`from ${r}`, ...row.map((n) => (n === 0 ? '·' : String(n)))]),
  ];
  const widths = cells[0]!.map((_, c) => Math.max(...cells.map((row) => row[c]!.length)));
  const lines = cells.map((row) =>
    row
      .map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!)))
      .join('  '),
  );
  for (const [name, { messages, elements }] of chains)
    lines.push(`${name}: ${elements} in ${messages} message${messages === 1 ? '' : 's'}`);
  lines.push(
    `${plan.copied} copied in place, ${plan.moved} moved, ${plan.crossNode} of them between nodes`,
  );
  return lines.map((line) => line.trimEnd()).join('\n');
}
