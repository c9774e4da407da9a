/**
 * The directory of one run, `<fileroot>/<experiment_name>/<trial_name>/`:
 *   config.yaml     resolved options of the last start (a resumed run keeps earlier ones as config.<n>.yaml)
 *   metrics.jsonl   a line per step
 *   tensorboard/    the same as events
 *   checkpoints/    step directories and `latest` (commands that train)
 *   trace.json      calls, transfers and reallocations of the newest steps for ui.perfetto.dev
 *   status.json     where it stands (real ps)
 *   logs/           one file a process
 *   run.lock        while a process uses it
 * recover_mode decides what an existing directory means: refuse, go on, or go on or fail.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError } from '@realhf/api';
import { isDeepStrictEqual } from 'node:util';
import { parse, stringify } from 'yaml';
import { RunLock } from '../checkpoint/lock.js';
import { type Checkpoint, CheckpointStore } from '../checkpoint/store.js';
import { StatusFile } from '../lifecycle/run-status.js';
import type { CommonConfig } from '../options/schemas/common.js';

/** The folder of a run, locked while it is used. */
export interface RunDirectory {
  /** Absolute. */
  readonly path: string;
  readonly trialName: string;
  readonly metricsPath: string;
  readonly tensorboardDir: string;
  readonly checkpoints: CheckpointStore;
  /** Where to go on from; undefined: start at step 0. */
  readonly resume: Checkpoint | undefined;
  /** Dotted names of options that differ from the run that is resumed. */
  readonly changed: readonly string[];
  /** Where the run stands, for other processes to read. */
  readonly status: StatusFile;
  /** Releases the lock. */
  close(): void;
}

/** `run20260102-030405` in local time. */
export function defaultTrialName(now: Date): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `run${date}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
}

/** Dotted names of options to their values; lists are values. */
export function leaves(value: unknown, prefix = ''): Map<string, unknown> {
  const out = new Map<string, unknown>();
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return out.set(prefix, value);
  for (const [key, child] of Object.entries(value))
    for (const [name, leaf] of leaves(child, prefix ? `${prefix}.${key}` : key))
      out.set(name, leaf);
  return out;
}

/** Options that may differ between a run and its continuation without changing its numbers. */
const free = new Set(['recover_mode', 'recover_retries', 'redis_url', 'trial_name', 'fileroot']);

function differences(before: unknown, after: unknown): string[] {
  const [a, b] = [leaves(before), leaves(after)];
  return [...new Set([...a.keys(), ...b.keys()])].filter(
    (k) => !free.has(k) && !isDeepStrictEqual(a.get(k), b.get(k)),
  );
}

function keepOldConfig(path: string, configPath: string): void {
  for (let n = 1; ; n++) {
    const old = join(path, `config.${n}.yaml`);
    if (existsSync(old)) continue;
    renameSync(configPath, old);
    return;
  }
}

/** What a run directory reads of a command's options. */
export type RunOptions = Pick<
  CommonConfig,
  'experiment_name' | 'trial_name' | 'fileroot' | 'recover_mode'
> & { readonly exp_ctrl?: Pick<CommonConfig['exp_ctrl'], 'keep_checkpoints'> };

/**
 * Makes or reopens a run's directory and locks it. `output`: the file in it that a command without checkpoints goes on
 * from. Throws ConfigError: it exists and recover_mode=disabled; nothing to resume and recover_mode=resume; another
 * process uses it.
 */
export function openRunDirectory(
  config: RunOptions,
  now = new Date(),
  output?: string,
): RunDirectory {
  const trialName = config.trial_name ?? defaultTrialName(now);
  const path = resolve(config.fileroot, config.experiment_name, trialName);
  const configPath = join(path, 'config.yaml');
  const checkpoints = new CheckpointStore({
    dir: join(path, 'checkpoints'),
    keep: config.exp_ctrl?.keep_checkpoints ?? null,
  });
  if (config.recover_mode === 'resume') {
    const found =
      output === undefined ? checkpoints.latest() !== undefined : existsSync(join(path, output));
    const wanted =
      output === undefined ? `complete checkpoint in ${checkpoints.dir}` : join(path, output);
    if (!found)
      throw new ConfigError(
        `recover_mode=resume found no ${wanted}; check the names, or use recover_mode=auto to start anew`,
      );
  }
  mkdirSync(path, { recursive: true });
  const lock = new RunLock(path);
  try {
    const existed = existsSync(configPath);
    if (existed && config.recover_mode === 'disabled')
      throw new ConfigError(
        `run ${path} exists already; choose another trial_name, or recover_mode=auto to go on with it`,
      );
    const resume = checkpoints.latest();
    const resolved = { ...config, trial_name: trialName };
    let changed: string[] = [];
    if (existed) {
      changed = differences(parse(readFileSync(configPath, 'utf8')), resolved);
      if (changed.length > 0) keepOldConfig(path, configPath);
    }
    writeFileSync(configPath, stringify(resolved));
    return {
      path,
      trialName,
      metricsPath: join(path, 'metrics.jsonl'),
      tensorboardDir: join(path, 'tensorboard'),
      checkpoints,
      resume,
      changed,
      status: new StatusFile(path),
      close: () => {
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}
