/**
 * The worker processes of a run: started with one log file each, watched, and never left behind. The run's keys go by
 * the environment, everything else by the config file.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { CommError } from '@realhf/api';

import { formatRunKeys, keysVariable, type RunKeys } from './keys.js';
import { workerName } from './worker-config.js';

export interface WorkerProcess {
  readonly name: string;
  readonly pid: number | undefined;
  readonly log: string;
  /** How it ended: `exit code 1`, `signal SIGKILL`. */
  cause?: string;
}

export interface StartWorkersOptions {
  /** Script and arguments after which `worker CONFIG RANK` makes a worker. */
  readonly entry: readonly string[];
  readonly configPath: string;
  readonly size: number;
  readonly keys: RunKeys;
  readonly logDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Lines of a log shown in an error. */
const shownLines = 8;

export class WorkerProcesses {
  readonly all: readonly WorkerProcess[];
  /** The first worker that ended without being asked, as an error with its cause and last log lines. */
  death: CommError | undefined;
  private readonly children: readonly ChildProcess[];
  private readonly ends: readonly Promise<void>[];
  private readonly onDeath: (error: CommError) => void;
  private ending = false;
  private readonly killAll = () => {
    for (const c of this.children) c.kill('SIGKILL');
  };

  /** `onDeath`: told once, of the first. */
  constructor(options: StartWorkersOptions, onDeath: (error: CommError) => void) {
    this.onDeath = onDeath;
    mkdirSync(options.logDir, { recursive: true });
    const started = Array.from({ length: options.size }, (_, rank) => start(options, rank));
    this.children = started.map((s) => s.child);
    this.all = started.map((s) => s.worker);
    this.ends = started.map(({ child, worker }) => this.watch(child, worker));
    process.on('exit', this.killAll);
  }

  /** Waits up to `ms` for workers that were told to exit, then kills the rest; resolves when none is left. */
  async end(ms: number): Promise<void> {
    this.ending = true;
    const timer = setTimeout(this.killAll, ms);
    if (ms === 0) this.killAll();
    await Promise.all(this.ends);
    clearTimeout(timer);
    process.off('exit', this.killAll);
  }

  /** A death, waited for up to `ms`: what peers notice of one may come before it. */
  async deathWithin(ms: number): Promise<CommError | undefined> {
    if (this.death) return this.death;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([...this.ends, late]);
    clearTimeout(timer);
    return this.death;
  }

  private watch(child: ChildProcess, worker: WorkerProcess): Promise<void> {
    return new Promise((resolve) => {
      const ended = (cause: string) => {
        worker.cause ??= cause;
        if (!this.ending && !this.death) {
          this.death = deathOf(worker);
          this.onDeath(this.death);
        }
        resolve();
      };
      child.on('error', (e) => {
        ended(`it did not start: ${e.message}`);
      });
      child.on('exit', (code, signal) => {
        ended(signal ? `signal ${signal}` : `exit code ${code ?? '?'}`);
      });
    });
  }
}

function start(
  { entry, configPath, keys, logDir, env }: StartWorkersOptions,
  rank: number,
): { child: ChildProcess; worker: WorkerProcess } {
  const name = workerName(rank);
  const log = join(logDir, `${name.replace('/', '-')}.log`);
  const fd = openSync(log, 'a');
  const child = spawn(process.execPath, [...entry, 'worker', configPath, String(rank)], {
    stdio: ['ignore', fd, fd, 'ipc'],
    env: { ...env, [keysVariable]: formatRunKeys(keys) },
  });
  closeSync(fd);
  // The channel is there to be closed when this process ends; it keeps neither side alive.
  child.channel?.unref();
  return { child, worker: { name, pid: child.pid, log } };
}

function deathOf({ name, pid, log, cause }: WorkerProcess): CommError {
  const lines = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
  const last = lines.slice(-shownLines).join(' | ');
  return new CommError(
    `worker ${name} (process ${pid ?? '?'}) ended by ${cause ?? '?'}; last lines of ${log}: ${last || 'none'}`,
  );
}
