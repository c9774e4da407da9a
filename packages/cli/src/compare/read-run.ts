/** What a run directory tells: options, state, and its metrics as series. A run may be writing it meanwhile. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { DataError } from '@realhf/api';
import { parse } from 'yaml';
import { z } from 'zod';

import { findRun } from '../lifecycle/find-run.js';
import { readStatus } from '../lifecycle/run-status.js';
import { leaves } from '../log/run-directory.js';

/** One metric of a run. */
export interface Series {
  readonly steps: number[];
  /** NaN where it was not finite. */
  readonly values: number[];
  /** 95 % interval of every value, for metrics of evaluations that have one. */
  readonly band?: { readonly low: number[]; readonly high: number[] };
}

export interface Run {
  /** `experiment/trial`. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  /** Undefined: it wrote no status. */
  readonly state: string | undefined;
  /** Steps done. */
  readonly steps: number;
  /** By name, as in TensorBoard: `mfc/stat`, `eval/model/stat`. */
  readonly metrics: ReadonlyMap<string, Series>;
  /** Sum over steps. */
  readonly seconds: number;
  /** Tokens of the call that has most of them, summed over steps. */
  readonly tokens: number;
  /** Dotted names. */
  readonly options: ReadonlyMap<string, unknown>;
}

const groups = z.record(z.string(), z.record(z.string(), z.number().nullable()));
const recordSchema = z.object({
  step: z.number(),
  stepSeconds: z.number().nullable().default(0),
  stats: groups.default({}),
  tokens: z.record(z.string(), z.number().nullable()).default({}),
  eval: groups.default({}),
  measured: z.record(z.string(), z.number().nullable()).default({}),
});
type MetricsLine = z.infer<typeof recordSchema>;

/** A directory, or else EXPERIMENT or EXPERIMENT/TRIAL below `fileroot`. Throws ConfigError or DataError in one line. */
export function readRun(given: string, fileroot: string): Run {
  const path = existsSync(given) ? resolve(given) : findRun(fileroot, given).path;
  const metricsPath = join(path, 'metrics.jsonl');
  const configPath = join(path, 'config.yaml');
  const absent = [configPath, metricsPath].find((f) => !existsSync(f));
  if (absent !== undefined)
    throw new DataError(
      `${path} is no directory of a run: it has no ${absent.slice(path.length + 1)}; give <fileroot>/<experiment_name>/<trial_name>`,
    );
  const records = readRecords(metricsPath);
  const options = leaves(parse(readFileSync(configPath, 'utf8')));
  const status = readStatus(path);
  return {
    name: `${show(options.get('experiment_name'))}/${show(options.get('trial_name'))}`,
    path,
    state: status?.state,
    steps: records.at(-1)?.step ?? 0,
    metrics: seriesOf(records),
    seconds: records.reduce((n, r) => n + (r.stepSeconds ?? 0), 0),
    tokens: records.reduce(
      (n, r) => n + Math.max(0, ...Object.values(r.tokens).map((t) => t ?? 0)),
      0,
    ),
    options,
  };
}

/** Whole lines; the last may just be written. */
function readRecords(path: string): MetricsLine[] {
  const text = readFileSync(path, 'utf8');
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line, i) => {
    try {
      return recordSchema.parse(JSON.parse(line));
    } catch (cause) {
      throw new DataError(`${path}:${i + 1} is no record of metrics; is it from another program?`, {
        cause,
      });
    }
  });
}

function seriesOf(records: readonly MetricsLine[]): Map<string, Series> {
  const all = new Map<string, Series>();
  const add = (name: string, step: number, value: number | null) => {
    const series = all.get(name) ?? { steps: [], values: [] };
    series.steps.push(step);
    series.values.push(value ?? NaN);
    all.set(name, series);
  };
  for (const { step, stats, eval: evals, measured } of records) {
    for (const [prefix, of] of [['', stats] as const, ['eval/', evals] as const])
      for (const [group, values] of Object.entries(of))
        for (const [k, v] of Object.entries(values)) add(`${prefix}${group}/${k}`, step, v);
    for (const [k, v] of Object.entries(measured)) add(k, step, v);
  }
  return withBands(all);
}

/** `x_low` and `x_high` of an evaluation become the band of `x`. */
function withBands(all: Map<string, Series>): Map<string, Series> {
  for (const [name, series] of [...all]) {
    const [low, high] = [all.get(`${name}_low`), all.get(`${name}_high`)];
    if (!name.startsWith('eval/') || !low || !high) continue;
    all.set(name, { ...series, band: { low: low.values, high: high.values } });
    all.delete(`${name}_low`);
    all.delete(`${name}_high`);
  }
  return all;
}

/** An option or value as text. */
export const show = (value: unknown): string =>
  value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value);
