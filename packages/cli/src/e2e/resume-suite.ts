/**
 * The proof of exact resume: a run that is killed and restarted ends with the bytes of one that never stopped.
 * Kills come at moments drawn from a seed (printed; REAL_E2E_SEED repeats it): during start-up, between steps, within
 * a step, and within the save of a checkpoint.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'vitest';
import { z } from 'zod';

import { CheckpointStore } from '../checkpoint/store.js';
import { uniform } from '../data/random.js';
import type { RealProcess, StartOptions } from './real-process.js';

type Start = (words: readonly string[], options: StartOptions) => RealProcess;

export interface KillPlan {
  readonly start: Start;
  readonly cwd: string;
  /** Command and options without trial_name and recover. */
  readonly words: readonly string[];
  readonly experiment: string;
  /** Steps of the whole run. */
  readonly steps: number;
  readonly kills: number;
}

/** Draws of this test process; the seed is printed so that a failure can be repeated. */
export class Draws {
  readonly seed: number;
  private n = 0;
  constructor() {
    this.seed = Number(process.env.REAL_E2E_SEED ?? Date.now() % 1_000_000);
    console.log(`REAL_E2E_SEED=${this.seed}`);
  }
  next(): number {
    return uniform([this.seed], this.n++);
  }
}

/** Resolves once `condition` holds or the process has ended. */
async function until(process: RealProcess, condition: () => boolean): Promise<void> {
  while (process.running && !condition())
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
}

const delay = (ms: number) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

export const runDir = (plan: Pick<KillPlan, 'cwd' | 'experiment'>, trial: string) =>
  join(plan.cwd, 'real-runs', plan.experiment, trial);

/** Whole lines of metrics.jsonl. */
export function metricsLines(run: string): string[] {
  const path = join(run, 'metrics.jsonl');
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];
}

function savedSteps(run: string): string[] {
  const dir = join(run, 'checkpoints');
  return existsSync(dir) ? readdirSync(dir).sort() : [];
}

/** Runs to the end; throws with what was printed if that fails. */
export async function finish(process: RealProcess): Promise<void> {
  const code = await process.ended;
  expect(code, process.stderr).toBe(0);
}

/** Saves and steps take turns, start-up is rarer. */
const moments = ['save', 'step', 'save', 'step', 'start'] as const;

/** Starts, and kills at one drawn moment. The newest whole checkpoint must stay, or a newer one be there. */
async function killOnce(
  plan: KillPlan,
  trial: string,
  kind: (typeof moments)[number],
  draws: Draws,
): Promise<string> {
  const run = runDir(plan, trial);
  const newest = () => new CheckpointStore({ dir: join(run, 'checkpoints') }).latest()?.step ?? 0;
  const before = newest();
  const process = plan.start([...plan.words, `trial_name=${trial}`, 'recover=auto'], plan);
  let moment: string;
  if (kind === 'start') {
    const ms = Math.floor(draws.next() * 1500);
    moment = `${ms} ms after the start`;
    await delay(ms);
  } else if (kind === 'save') {
    const ms = Math.floor(draws.next() * 15);
    moment = `${ms} ms into a save`;
    const seen = new Set<string>();
    await until(process, () => {
      for (const n of savedSteps(run)) if (n.startsWith('.partial-')) seen.add(n);
      return seen.size > (before > 0 ? 0 : 1);
    });
    await delay(ms);
  } else {
    const more = 1 + Math.floor(draws.next() * 2);
    const ms = Math.floor(draws.next() * 150);
    moment = `${ms} ms after ${more} more steps`;
    // A resumed run first drops lines past its checkpoint: count from the file's shortest.
    let least = Infinity;
    await until(process, () => {
      const lines = metricsLines(run).length;
      least = Math.min(least, lines);
      return lines >= least + more && process.stderr.includes('step ');
    });
    await delay(ms);
  }
  process.kill('SIGKILL');
  const code = await process.ended;
  if (code !== 'SIGKILL') expect(code, process.stderr).toBe(0);
  const after = savedSteps(run);
  expect(newest(), `newest whole checkpoint after a kill ${moment}`).toBeGreaterThanOrEqual(before);
  return `${moment} (${metricsLines(run).length} steps, ${after.filter((n) => n.startsWith('step-')).length} checkpoints, ${after.filter((n) => n.startsWith('.partial-')).length} torn)`;
}

/** Kills `plan.kills` times, then lets it end. */
export async function killAndFinish(plan: KillPlan, trial: string, draws: Draws): Promise<void> {
  const first = Math.floor(draws.next() * moments.length);
  for (let i = 0; i < plan.kills; i++) {
    const kind = moments[(first + i) % moments.length]!;
    console.log(`kill ${i + 1}: ${await killOnce(plan, trial, kind, draws)}`);
  }
  await finish(plan.start([...plan.words, `trial_name=${trial}`, 'recover=auto'], plan));
}

const record = z.looseObject({ step: z.number() });

/** What a step computed: its metrics without clock and memory. */
function computed(line: string): unknown {
  const { seconds, stepSeconds, ...rest } = record.parse(JSON.parse(line));
  expect(seconds).toBeDefined();
  expect(stepSeconds).toBeTypeOf('number');
  // Bytes that processes held.
  delete rest.measured;
  return rest;
}

const stateSchema = z.object({
  master: z.looseObject({ secondsSinceSave: z.number(), secondsSinceEval: z.number() }),
  // Of many workers, each keeps its own beside its shards.
  optimizer: z.record(z.string(), z.unknown()).optional(),
});

/** All files of a checkpoint but the clock: blobs and weights as bytes, the state without seconds. */
function contents(checkpoint: string): Map<string, unknown> {
  const out = new Map<string, unknown>();
  const names = readdirSync(checkpoint, { recursive: true, encoding: 'utf8' }).sort();
  for (const name of names.filter((n) => /\.(bin|safetensors)$/.test(n)))
    out.set(name, readFileSync(join(checkpoint, name)).toString('base64'));
  const state = stateSchema.parse(JSON.parse(readFileSync(join(checkpoint, 'state.json'), 'utf8')));
  out.set('state.json', {
    ...state,
    master: { ...state.master, secondsSinceSave: 0, secondsSinceEval: 0 },
  });
  return out;
}

/** Both runs computed the same: metrics of every step, and the bytes of the last checkpoint. */
export function expectSameRuns(plan: KillPlan, one: string, other: string): void {
  const [a, b] = [runDir(plan, one), runDir(plan, other)];
  const [left, right] = [metricsLines(a), metricsLines(b)];
  expect(left).toHaveLength(plan.steps);
  expect(right.map(computed)).toEqual(left.map(computed));
  const last = join('checkpoints', `step-${String(plan.steps).padStart(6, '0')}`);
  const [x, y] = [contents(join(a, last)), contents(join(b, last))];
  expect([...y.keys()]).toEqual([...x.keys()]);
  expect([...x.keys()].filter((n) => n.endsWith('.bin')).length).toBeGreaterThanOrEqual(3);
  for (const [name, value] of x) {
    // Not toEqual on long strings: a difference would print megabytes.
    if (typeof value === 'string') expect(y.get(name) === value, `${name} differs`).toBe(true);
    else expect(y.get(name), name).toEqual(value);
  }
}
