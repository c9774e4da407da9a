/**
 * Names in a directory that all hosts share. A key `a/b` is the file `a/b/=entry`; no encoded part of a key contains
 * '=', so keys can't collide with what is kept beside them. Files appear whole (hard link or rename of a finished
 * file), so of processes that add the same key at once one gets through. A key's time to live counts from the file's
 * modification time, which its owner refreshes: clocks of hosts should agree to within a third of it.
 */
import { randomUUID } from 'node:crypto';
import {
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';

import { CommError } from '@realhf/api';
import { checkKey, checkTtl, takenError } from '../name-resolve/name-resolve.js';
import type { AddOptions, NameResolve, WaitOptions } from '../name-resolve/name-resolve.js';
import { pollFor } from '../name-resolve/polling.js';

/** How a directory is watched. */
export interface DirectoryNameResolveOptions {
  /** Milliseconds between two looks of `wait`; default 100. */
  readonly pollMs?: number;
}

interface Entry {
  readonly id: string;
  readonly value: string;
  readonly ttlSeconds?: number;
}

const ENTRY = '=entry';
/** A takeover of an expired key lasts milliseconds; one that is this old was left by a process that died. */
const TAKEOVER_MS = 10_000;

/** A client of the names under `directory`, which is made where it is missing. */
export function directoryNameResolve(
  directory: string,
  options: DirectoryNameResolveOptions = {},
): NameResolve {
  return new DirectoryNameResolve(directory, options.pollMs ?? 100);
}

class DirectoryNameResolve implements NameResolve {
  private readonly root: string;
  private readonly pollMs: number;
  private readonly closing = new AbortController();
  /** Own keys with a time to live: what was written and the timer that refreshes it. */
  private readonly own = new Map<string, { readonly id: string; readonly timer: NodeJS.Timeout }>();
  constructor(root: string, pollMs: number) {
    this.root = root;
    this.pollMs = pollMs;
  }

  async add(key: string, value: string, options: AddOptions = {}): Promise<void> {
    this.check(key);
    checkTtl(options.ttlSeconds);
    const { ttlSeconds } = options;
    const folder = this.folder(key);
    const entry: Entry = { id: randomUUID(), value, ...(ttlSeconds && { ttlSeconds }) };
    const draft = join(folder, `=draft-${entry.id}`);
    await writeInto(folder, draft, JSON.stringify(entry));
    try {
      if (options.replace === true) await rename(draft, join(folder, ENTRY));
      else if (!(await linked(draft, join(folder, ENTRY))) && !(await this.takeOver(folder, draft)))
        throw takenError(key, (await read(folder))?.value);
    } finally {
      await rm(draft, { force: true });
    }
    this.forget(key);
    if (ttlSeconds !== undefined) this.keep(key, entry.id, ttlSeconds);
  }

  async get(key: string): Promise<string | undefined> {
    this.check(key);
    return (await read(this.folder(key)))?.value;
  }

  async wait(key: string, options: WaitOptions = {}): Promise<string> {
    this.check(key);
    return pollFor(this, key, options.timeoutMs ?? 60_000, this.pollMs, this.closing.signal);
  }

  async getSubtree(prefix: string): Promise<Map<string, string>> {
    this.check(prefix);
    const found: [string, string][] = [];
    const visit = async (key: string): Promise<void> => {
      const folder = this.folder(key);
      const entry = await read(folder);
      if (entry) found.push([key, entry.value]);
      const below = await absentAs([], readdir(folder, { withFileTypes: true }));
      for (const child of below)
        if (child.isDirectory() && !child.name.startsWith('='))
          await visit(`${key}/${decodeURIComponent(child.name)}`);
    };
    await visit(prefix);
    return new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  async findSubtree(prefix: string): Promise<string[]> {
    return [...(await this.getSubtree(prefix)).keys()];
  }

  async delete(key: string): Promise<boolean> {
    this.check(key);
    this.forget(key);
    const folder = this.folder(key);
    const there = (await read(folder)) !== undefined;
    await rm(join(folder, ENTRY), { force: true });
    return there;
  }

  async clearSubtree(prefix: string): Promise<void> {
    for (const key of await this.findSubtree(prefix)) await this.delete(key);
  }

  async close(): Promise<void> {
    this.closing.abort();
    for (const [key, { id }] of [...this.own]) {
      this.forget(key);
      if ((await read(this.folder(key)))?.id === id)
        await rm(join(this.folder(key), ENTRY), { force: true });
    }
  }

  /** Replaces a key whose owner is gone. One process at a time may do so, and it looks again first. */
  private async takeOver(folder: string, draft: string): Promise<boolean> {
    const lock = join(folder, '=takeover');
    if (await read(folder)) return false;
    try {
      await mkdir(lock);
    } catch (e) {
      if (!hasCode(e, 'EEXIST')) throw e;
      const age = Date.now() - ((await absentAs(undefined, stat(lock)))?.mtimeMs ?? Date.now());
      if (age > TAKEOVER_MS) await absentAs(undefined, rmdir(lock));
      return linked(draft, join(folder, ENTRY));
    }
    try {
      if (await read(folder)) return false;
      await rename(draft, join(folder, ENTRY));
      return true;
    } finally {
      await absentAs(undefined, rmdir(lock));
    }
  }

  private keep(key: string, id: string, ttlSeconds: number): void {
    const folder = this.folder(key);
    const refresh = async () => {
      if ((await read(folder, true))?.id !== id) this.forget(key, id);
      else await absentAs(undefined, utimes(join(folder, ENTRY), new Date(), new Date()));
    };
    const timer = setInterval(
      () => {
        // A look that fails (a file server that hiccups) is made up for by the next one.
        refresh().catch(() => undefined);
      },
      (ttlSeconds * 1000) / 3,
    );
    timer.unref();
    this.own.set(key, { id, timer });
  }

  private forget(key: string, id?: string): void {
    const own = this.own.get(key);
    if (!own || (id !== undefined && own.id !== id)) return;
    clearInterval(own.timer);
    this.own.delete(key);
  }

  private folder(key: string): string {
    return join(this.root, ...key.split('/').map(encodeURIComponent));
  }

  private check(key: string): void {
    if (this.closing.signal.aborted) throw new CommError(`'${key}': this client is closed`);
    checkKey(key);
  }
}

/** The entry in `folder`; undefined where there is none or where its owner is gone, unless `expired` ones count too. */
async function read(folder: string, expired = false): Promise<Entry | undefined> {
  const path = join(folder, ENTRY);
  const text = await absentAs(undefined, readFile(path, 'utf8'));
  if (text === undefined) return undefined;
  const entry = JSON.parse(text) as Entry;
  if (entry.ttlSeconds === undefined || expired) return entry;
  const written = (await absentAs(undefined, stat(path)))?.mtimeMs;
  if (written === undefined || Date.now() - written > entry.ttlSeconds * 1000) return undefined;
  return entry;
}

async function writeInto(folder: string, path: string, text: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(path, text, { flag: 'wx' });
}

/** Whether `path` was made; false where it was there. */
async function linked(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path);
    return true;
  } catch (e) {
    if (hasCode(e, 'EEXIST')) return false;
    throw e;
  }
}

async function absentAs<T, U>(instead: U, what: Promise<T>): Promise<T | U> {
  try {
    return await what;
  } catch (e) {
    if (hasCode(e, 'ENOENT') || hasCode(e, 'ENOTDIR')) return instead;
    throw e;
  }
}

function hasCode(e: unknown, code: string): boolean {
  return e instanceof Error && 'code' in e && e.code === code;
}
