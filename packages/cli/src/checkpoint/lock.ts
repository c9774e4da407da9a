/**
 * One process per run directory. The lock is a file made whole by link(2), so it is never seen half-written; a lock
 * whose process is gone (same host, and the pid is free or was given to a later process) is taken over.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '@realhf/api';
import { z } from 'zod';

const ownerSchema = z.object({
  pid: z.number().int(),
  host: z.string(),
  /** Clock ticks after boot, from /proc; null where there is none. */
  startTicks: z.string().nullable(),
  since: z.string(),
});
type Owner = z.infer<typeof ownerSchema>;

/** Field 22 of /proc/<pid>/stat tells two processes with one pid apart. */
function startTicks(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is a name in parentheses and may hold spaces.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function alive(owner: Owner): boolean {
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = startTicks(owner.pid);
  return owner.startTicks === null || now === null || now === owner.startTicks;
}

const isCode = (error: unknown, code: string) => (error as NodeJS.ErrnoException).code === code;

function readOwner(path: string): { text: string; owner: Owner | undefined } | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    try {
      return { text, owner: ownerSchema.safeParse(JSON.parse(text)).data };
    } catch {
      return { text, owner: undefined };
    }
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Puts `temporary` in place as `path`; false if something is there. */
function claim(temporary: string, path: string): boolean {
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Who holds a run's directory, and whether that process lives; undefined where nobody does. */
export function lockOwner(dir: string): { pid: number; host: string; alive: boolean } | undefined {
  const owner = readOwner(join(dir, 'run.lock'))?.owner;
  if (!owner) return undefined;
  // Another host can't be asked: it is taken at its word.
  return { ...owner, alive: owner.host !== hostname() || alive(owner) };
}

/** Held from the constructor until `release` or the end of the process. */
export class RunLock {
  readonly path: string;
  private readonly text: string;
  private readonly onExit = () => {
    this.release();
  };

  /** Throws ConfigError naming the process that holds the directory. */
  constructor(dir: string) {
    this.path = join(dir, 'run.lock');
    const owner: Owner = {
      pid: process.pid,
      host: hostname(),
      startTicks: startTicks(process.pid),
      since: new Date().toISOString(),
    };
    this.text = `${JSON.stringify(owner)}\n`;
    const temporary = join(dir, `.run.lock.${process.pid}.${Math.random().toString(36).slice(2)}`);
    writeFileSync(temporary, this.text, { flag: 'wx' });
    try {
      while (!claim(temporary, this.path)) this.clearStale(dir, owner.host);
    } finally {
      rmSync(temporary, { force: true });
    }
    process.on('exit', this.onExit);
  }

  /** Moves a dead process's lock away; throws where the owner lives or can't be asked. */
  private clearStale(dir: string, host: string): void {
    const found = readOwner(this.path);
    if (!found) return;
    const { owner } = found;
    if (!owner)
      throw new ConfigError(`'${this.path}' is not a lock file; remove it if no run uses ${dir}`);
    if (owner.host !== host)
      throw new ConfigError(
        `run ${dir} is in use by process ${owner.pid} on host ${owner.host} since ${owner.since}; if it is gone, remove ${this.path}`,
      );
    if (alive(owner))
      throw new ConfigError(
        `run ${dir} is in use by process ${owner.pid} since ${owner.since}; wait for it or choose another trial_name`,
      );
    const moved = `${this.path}.stale.${process.pid}`;
    try {
      renameSync(this.path, moved);
    } catch (error) {
      if (isCode(error, 'ENOENT')) return;
      throw error;
    }
    // Another process may have taken over between reading and moving: its lock goes back.
    if (readFileSync(moved, 'utf8') !== found.text) claim(moved, this.path);
    rmSync(moved, { force: true });
  }

  /** Idempotent; leaves a lock alone that is no longer ours. */
  release(): void {
    process.off('exit', this.onExit);
    if (readOwner(this.path)?.text === this.text) rmSync(this.path, { force: true });
  }
}
