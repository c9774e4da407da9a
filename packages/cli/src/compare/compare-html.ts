/** The comparison as one self-contained HTML file: tables, and the runs' curves in one chart per metric. */
import { lineChart } from '../quickstart/chart.js';
import { escapeHtml as escape, pageStyle } from '../quickstart/report-html.js';
import { metricNames, type Comparison, type Row } from './comparison.js';
import type { Run } from './read-run.js';

const colors = [
  '#2a6fbb',
  '#c8651b',
  '#1a7f4b',
  '#b3372f',
  '#7a4fc0',
  '#8a6d1b',
  '#0f8a8a',
  '#c03c86',
];

const style = `${pageStyle}
body { max-width: 1240px; } .scroll { overflow-x: auto; } td, th { white-space: nowrap; }
.key { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 7px; vertical-align: middle; }
`;

/** Metrics with a single value in every run are only in the table. */
export function comparisonHtml(runs: readonly Run[], c: Comparison): string {
  const color = (i: number) => colors[i % colors.length]!;
  const head = `<tr><th></th>${runs
    .map(
      (r, i) =>
        `<th><span class="key" style="background:${color(i)}"></span>${escape(r.name)}</th>`,
    )
    .join('')}</tr>`;
  const table = (rows: readonly Row[]) =>
    `<div class="scroll"><table>${head}${rows
      .map(
        (r) =>
          `<tr><td class="soft">${escape(r.name)}</td>${r.cells.map((cell) => `<td>${escape(cell)}</td>`).join('')}</tr>`,
      )
      .join('')}</table></div>`;
  const charts = metricNames(runs)
    .flatMap((name) => {
      const lines = runs.flatMap((r, i) => {
        const series = r.metrics.get(name);
        return series?.values.some((v) => Number.isFinite(v))
          ? [{ label: r.name, color: color(i), ...series }]
          : [];
      });
      return lines.some((l) => l.values.length > 1)
        ? [lineChart(name, lines, { legend: false })]
        : [];
    })
    .join('');
  const keys = runs
    .map((r, i) => `<span class="key" style="background:${color(i)}"></span>${escape(r.name)}`)
    .join(' &emsp; ');
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>real compare</title><style>${style}</style>
<h1>Runs compared</h1>
${table(c.summary)}
<h2>Curves</h2><p>${keys}</p><p class="soft">Against steps. Bands are 95 % intervals of evaluations.</p><div class="charts">${charts}</div>
<h2>Metrics at the last step</h2>${table(c.metrics)}
<h2>Options that differ</h2>${c.options.length > 0 ? table(c.options) : '<p>none</p>'}
</html>
`;
}
