/**
 * Where a run stands (reference: S10), in `status.json` of its directory: written by the process that drives the run,
 * read by `real ps`. A run whose file says that it goes on and whose process is gone is LOST.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { z } from 'zod';

import { lockOwner } from '../checkpoint/lock.js';

/** READY: workers are there, no step begun. INTERRUPTED: stopped before the end, resumable. */
export const runStates = [
  'READY',
  'RUNNING',
  'PAUSED',
  'COMPLETED',
  'ERROR',
  'INTERRUPTED',
  'LOST',
] as const;
export type RunState = (typeof runStates)[number];

const statusSchema = z.object({
  state: z.enum(runStates),
  /** Steps done, and of the whole run. */
  step: z.number().int().nonnegative(),
  steps: z.number().int().nonnegative(),
  /** When the state began, ISO 8601. */
  since: z.string(),
  /** Why, for ERROR. */
  error: z.string().optional(),
  workers: z.array(z.object({ name: z.string(), pid: z.number().int(), state: z.enum(runStates) })),
});
export type RunStatus = z.infer<typeof statusSchema>;

const live: readonly RunState[] = ['READY', 'RUNNING', 'PAUSED'];
/** True while a process should be driving the run. */
export const isLive = (state: RunState): boolean => live.includes(state);

const fileOf = (dir: string) => join(dir, 'status.json');

/** The writing side, for the process that holds the run's lock. */
export class StatusFile {
  private readonly dir: string;
  private status: RunStatus = {
    state: 'READY',
    step: 0,
    steps: 0,
    since: new Date().toISOString(),
    workers: [],
  };

  constructor(dir: string) {
    this.dir = dir;
  }

  /** Workers are taken to be in the state of the run while it is live. */
  set(change: Partial<Omit<RunStatus, 'since'>>): void {
    const { state = this.status.state, workers = this.status.workers } = change;
    this.status = {
      ...this.status,
      ...change,
      workers: workers.map((w) => (isLive(w.state) ? { ...w, state } : w)),
      since: state === this.status.state ? this.status.since : new Date().toISOString(),
    };
    const path = fileOf(this.dir);
    writeFileSync(`${path}.tmp`, `${JSON.stringify(this.status)}\n`);
    renameSync(`${path}.tmp`, path);
  }
}

/** Undefined where no run was; LOST where its process is gone. */
export function readStatus(dir: string): RunStatus | undefined {
  if (!existsSync(fileOf(dir))) return undefined;
  const parsed = statusSchema.safeParse(JSON.parse(readFileSync(fileOf(dir), 'utf8')));
  if (!parsed.success) return undefined;
  const { data } = parsed;
  if (!isLive(data.state) || lockOwner(dir)?.alive === true) return data;
  return {
    ...data,
    state: 'LOST',
    workers: data.workers.map((w) => ({ ...w, state: 'LOST' })),
  };
}

/** What a user asks of a run that goes on; served at the edge of its next step. */
export type RunCommand = 'pause' | 'resume' | 'stop';
const commandFile = (dir: string) => join(dir, 'command');

export function sendCommand(dir: string, command: RunCommand): void {
  const path = commandFile(dir);
  writeFileSync(`${path}.tmp`, command);
  renameSync(`${path}.tmp`, path);
}

/** The last command that was sent and not taken. */
export function takeCommand(dir: string): RunCommand | undefined {
  const path = commandFile(dir);
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, 'utf8');
  rmSync(path, { force: true });
  return (['pause', 'resume', 'stop'] as const).find((c) => c === text);
}
