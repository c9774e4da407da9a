/** Runs side by side: rows of text for the terminal and the page. */
import { isDeepStrictEqual } from 'node:util';

import { show, type Run, type Series } from './read-run.js';

/** A name and a cell per run. */
export interface Row {
  readonly name: string;
  readonly cells: readonly string[];
}

export interface Comparison {
  readonly summary: readonly Row[];
  /** Last value, and the best with its step where better means something. */
  readonly metrics: readonly Row[];
  readonly options: readonly Row[];
}

/** Options that name a run and are not what it does. */
const names = new Set(['experiment_name', 'trial_name', 'fileroot', 'recover_mode']);

export function compareRuns(runs: readonly Run[]): Comparison {
  const row = (name: string, cell: (run: Run) => string): Row => ({ name, cells: runs.map(cell) });
  const options = [...new Set(runs.flatMap((r) => [...r.options.keys()]))].filter(
    (k) =>
      !names.has(k) &&
      runs.some((r) => !isDeepStrictEqual(r.options.get(k), runs[0]!.options.get(k))),
  );
  return {
    summary: [
      row('state', (r) => r.state ?? '–'),
      row('steps', (r) => String(r.steps)),
      row('seconds', (r) => number(r.seconds)),
      row('tokens/s', (r) => (r.seconds > 0 ? number(r.tokens / r.seconds) : '–')),
    ],
    metrics: metricNames(runs).map((name) =>
      row(name, (r) => {
        const series = r.metrics.get(name);
        return series ? cellOf(name, series) : '–';
      }),
    ),
    options: options.map((name) => row(name, (r) => show(r.options.get(name)))),
  };
}

/** Of all runs, evaluations first. */
export function metricNames(runs: readonly Run[]): string[] {
  const all = [...new Set(runs.flatMap((r) => [...r.metrics.keys()]))];
  const isEval = (name: string) => name.startsWith('eval/');
  return [...all.filter(isEval), ...all.filter((n) => !isEval(n))];
}

/** 1: more is better, −1: less is; 0: neither. */
export function direction(name: string): 1 | 0 | -1 {
  const stat = name.slice(name.lastIndexOf('/') + 1);
  if (/(^|_)(loss|perplexity|ppl)$/.test(stat)) return -1;
  return /(^|_)(reward|acc|margin)$/.test(stat) ? 1 : 0;
}

/** Four digits. */
export function number(x: number): string {
  if (!Number.isFinite(x)) return 'not finite';
  const size = Math.abs(x);
  return size !== 0 && (size < 1e-3 || size >= 1e6)
    ? x.toExponential(2)
    : String(Number(x.toPrecision(4)));
}

function cellOf(name: string, { steps, values, band }: Series): string {
  const at = (i: number) =>
    band
      ? `${number(values[i]!)} [${number(band.low[i]!)}, ${number(band.high[i]!)}]`
      : number(values[i]!);
  const last = values.length - 1;
  const sign = direction(name);
  if (sign === 0) return at(last);
  let best = -1;
  values.forEach((v, i) => {
    if (Number.isFinite(v) && (best < 0 || sign * v > sign * values[best]!)) best = i;
  });
  return best < 0 || best === last ? at(last) : `${at(last)}  best ${at(best)} at ${steps[best]!}`;
}

/** Columns as wide as they need; sections divided by an empty line. */
export function comparisonText(runs: readonly Run[], c: Comparison): string {
  const sections: (readonly Row[])[] = [c.summary, c.metrics, c.options];
  const head: Row = { name: 'run', cells: runs.map((r) => r.name) };
  const all = [head, ...sections.flat()];
  const widths = [
    Math.max(...all.map((r) => r.name.length)),
    ...runs.map((_, i) => Math.max(...all.map((r) => r.cells[i]!.length))),
  ];
  const line = (r: Row) =>
    [r.name, ...r.cells]
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd();
  const differing = c.options.length > 0 ? [] : ['', 'no option differs'];
  return [
    line(head),
    ...sections.flatMap((rows) => (rows.length > 0 ? ['', ...rows.map(line)] : [])),
    ...differing,
    '',
  ].join('\n');
}
