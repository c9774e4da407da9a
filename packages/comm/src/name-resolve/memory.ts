/** Names of one process: clients that are given the same store see the same names. For tests and for ranks in one process. */
import { CommError } from '@realhf/api';
import { checkKey, checkTtl, isWithin, takenError, timeoutError } from './name-resolve.js';
import type { AddOptions, NameResolve, WaitOptions } from './name-resolve.js';

/** What clients of one process share. */
export class MemoryNames {
  readonly entries = new Map<string, { readonly value: string }>();
  readonly waiters = new Map<string, Set<(value: string) => void>>();
}

/** A client of `store`. A key with `ttlSeconds` lives until its client is closed: the process is the owner of all. */
export function memoryNameResolve(store: MemoryNames = new MemoryNames()): NameResolve {
  return new MemoryNameResolve(store);
}

class MemoryNameResolve implements NameResolve {
  private readonly own = new Map<string, { readonly value: string }>();
  private readonly waits = new Set<(e: CommError) => void>();
  private readonly store: MemoryNames;
  private closed = false;
  constructor(store: MemoryNames) {
    this.store = store;
  }

  async add(key: string, value: string, options: AddOptions = {}): Promise<void> {
    await this.open(key);
    checkTtl(options.ttlSeconds);
    const { entries, waiters } = this.store;
    const old = entries.get(key);
    if (old && options.replace !== true) throw takenError(key, old.value);
    const entry = { value };
    entries.set(key, entry);
    if (options.ttlSeconds !== undefined) this.own.set(key, entry);
    for (const resolve of waiters.get(key) ?? []) resolve(value);
    waiters.delete(key);
  }

  async get(key: string): Promise<string | undefined> {
    await this.open(key);
    return this.store.entries.get(key)?.value;
  }

  async wait(key: string, options: WaitOptions = {}): Promise<string> {
    await this.open(key);
    // From the look to the entry in `waiters` nothing is awaited: no name can slip in between.
    const there = this.store.entries.get(key);
    if (there) return there.value;
    const timeoutMs = options.timeoutMs ?? 60_000;
    const value = await new Promise<string | undefined>((resolve, reject) => {
      const { waiters } = this.store;
      const end = () => {
        clearTimeout(timer);
        this.waits.delete(fail);
        waiters.get(key)?.delete(found);
      };
      const found = (v: string) => {
        end();
        resolve(v);
      };
      const fail = (e: CommError) => {
        end();
        reject(e);
      };
      // It keeps the process alive: a program that only waits here is to hear of the time-out.
      const timer = setTimeout(() => {
        end();
        resolve(undefined);
      }, timeoutMs);
      this.waits.add(fail);
      waiters.set(key, (waiters.get(key) ?? new Set()).add(found));
    });
    if (value === undefined) throw await timeoutError(this, [key], timeoutMs);
    return value;
  }

  async getSubtree(prefix: string): Promise<Map<string, string>> {
    await this.open(prefix);
    const within = [...this.store.entries].filter(([key]) => isWithin(key, prefix));
    return new Map(within.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, e]) => [k, e.value]));
  }

  async findSubtree(prefix: string): Promise<string[]> {
    return [...(await this.getSubtree(prefix)).keys()];
  }

  async delete(key: string): Promise<boolean> {
    await this.open(key);
    return this.store.entries.delete(key);
  }

  async clearSubtree(prefix: string): Promise<void> {
    for (const key of await this.findSubtree(prefix)) this.store.entries.delete(key);
  }

  close(): Promise<void> {
    this.closed = true;
    for (const [key, entry] of this.own)
      if (this.store.entries.get(key) === entry) this.store.entries.delete(key);
    for (const fail of [...this.waits]) fail(new CommError('wait: this client was closed'));
    return Promise.resolve();
  }

  /** Refuses bad keys and closed clients; a promise, so that every failure of a method is a rejection. */
  private open(key: string): Promise<void> {
    if (this.closed) return Promise.reject(new CommError(`'${key}': this client is closed`));
    checkKey(key);
    return Promise.resolve();
  }
}
