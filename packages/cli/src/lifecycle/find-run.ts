/** Runs below a fileroot, and the one that EXPERIMENT or EXPERIMENT/TRIAL means. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { ConfigError } from '@realhf/api';

import { isLive, readStatus, type RunStatus } from './run-status.js';

export interface FoundRun {
  /** `experiment/trial`. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  readonly status: RunStatus;
}

/** All runs with a status, oldest first. */
export function findRuns(fileroot: string): FoundRun[] {
  const root = resolve(fileroot);
  if (!existsSync(root)) return [];
  const folders = (dir: string) =>
    readdirSync(dir).filter((n) =>
      statSync(join(dir, n), { throwIfNoEntry: false })?.isDirectory(),
    );
  return folders(root)
    .flatMap((experiment) =>
      folders(join(root, experiment)).flatMap((trial): FoundRun[] => {
        const path = join(root, experiment, trial);
        const status = readStatus(path);
        return status ? [{ name: `${experiment}/${trial}`, path, status }] : [];
      }),
    )
    .sort((a, b) => (a.status.since < b.status.since ? -1 : 1));
}

/** Without a trial: the live one, else the newest. Throws ConfigError that says what there is. */
export function findRun(fileroot: string, name: string): FoundRun {
  const runs = findRuns(fileroot);
  const matches = runs.filter((r) => r.name === name || r.name.startsWith(`${name}/`));
  const alive = matches.filter((r) => isLive(r.status.state));
  if (alive.length > 1)
    throw new ConfigError(
      `${alive.length} runs of '${name}' go on: ${alive.map((r) => r.name).join(', ')}; name the trial`,
    );
  const found = alive[0] ?? matches.at(-1);
  if (!found)
    throw new ConfigError(
      `no run '${name}' below ${resolve(fileroot)}; there are ${
        runs
          .slice(-8)
          .map((r) => r.name)
          .join(', ') || 'none'
      }`,
    );
  return found;
}
