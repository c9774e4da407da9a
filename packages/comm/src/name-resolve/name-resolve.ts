/**
 * Name resolving: how processes of a run find each other. Keys are paths (`user/experiment/trial/worker/0`), values
 * are short strings. A key with `ttlSeconds` is as alive as its owner: refreshed while the owner lives, deleted by the
 * owner's `close`, gone `ttlSeconds` after the owner died. A key without stays until it is deleted.
 */
import { CommError, ConfigError } from '@realhf/api';

/** Options of `add`. */
export interface AddOptions {
  /** Seconds that the key outlives its owner; without it the key stays until it is deleted. */
  readonly ttlSeconds?: number;
  /** Whether a value that is there is replaced; default false: CommError. */
  readonly replace?: boolean;
}

/** Options of `wait`. */
export interface WaitOptions {
  /** Milliseconds; default 60,000. */
  readonly timeoutMs?: number;
}

/** A shared table of names, in memory, in a directory or in Redis. */
export interface NameResolve {
  /** Throws CommError where the key is there already, unless `replace`; of several at once only one gets through. */
  add(key: string, value: string, options?: AddOptions): Promise<void>;
  /** undefined where there is no such key. */
  get(key: string): Promise<string | undefined>;
  /** The value as soon as the key is there. CommError on time-out, with what is there instead. */
  wait(key: string, options?: WaitOptions): Promise<string>;
  /** Key and value of `prefix` and of all keys below it, sorted by key. `a/b` is not below `a/bc`. */
  getSubtree(prefix: string): Promise<Map<string, string>>;
  /** The keys of `getSubtree`. */
  findSubtree(prefix: string): Promise<string[]>;
  /** Whether there was something to delete. */
  delete(key: string): Promise<boolean>;
  /** Deletes `prefix` and all keys below it. */
  clearSubtree(prefix: string): Promise<void>;
  /** Deletes this client's own keys with `ttlSeconds`, stops what runs; everything later is a CommError. */
  close(): Promise<void>;
}

/** Throws ConfigError unless the key is made of non-empty segments other than `.` and `..`, parted by `/`. */
export function checkKey(key: string): void {
  const odd = key.split('/').find((s) => s === '' || s === '.' || s === '..' || s.includes('\0'));
  if (odd !== undefined)
    throw new ConfigError(
      `name '${key}': '${odd}' can't be a part of it; use parts like user/trial/0, without an empty one`,
    );
}

/** Throws ConfigError for a time to live that isn't a positive number of seconds. */
export function checkTtl(ttlSeconds: number | undefined): void {
  if (ttlSeconds !== undefined && !(ttlSeconds > 0 && ttlSeconds < 1e9))
    throw new ConfigError(`a name's ttlSeconds is ${ttlSeconds}; use a positive number or none`);
}

/** The error of a key that is there already. */
export function takenError(key: string, value: string | undefined): CommError {
  const has = value === undefined ? '' : ` ('${value}')`;
  return new CommError(
    `add '${key}': the name is taken${has}; pass replace: true, or delete it first`,
  );
}

/** The error of a wait that came to nothing: what was awaited, how long, and what is there beside it. */
export async function timeoutError(
  names: NameResolve,
  keys: readonly string[],
  timeoutMs: number,
): Promise<CommError> {
  const parent = commonParent(keys);
  const there = await names.findSubtree(parent);
  const found = there.length === 0 ? 'nothing' : short(there);
  const asked = keys.length === 1 ? `'${keys[0]!}'` : `${keys.length} names, ${short(keys)}`;
  return new CommError(
    `waited ${timeoutMs} ms for ${asked}: not there; under '${parent}' there is ${found}; did its owner start?`,
  );
}

/** Values of several keys, by the order of `keys`. CommError on time-out names all that are missing. */
export async function waitAll(
  names: NameResolve,
  keys: readonly string[],
  options: WaitOptions = {},
): Promise<string[]> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const values = await Promise.allSettled(keys.map((key) => names.wait(key, { timeoutMs })));
  const missing = keys.filter((_, i) => values[i]!.status === 'rejected');
  if (missing.length > 0) {
    // What isn't a time-out (a closed client, a server that is gone) says more than the list would.
    const failed = values.find((v): v is PromiseRejectedResult => v.status === 'rejected')!;
    if (missing.length === 1 || !String(failed.reason).includes('waited')) throw failed.reason;
    throw await timeoutError(names, missing, timeoutMs);
  }
  return values.map((v) => (v as PromiseFulfilledResult<string>).value);
}

/** Whether `key` is `prefix` or below it. */
export function isWithin(key: string, prefix: string): boolean {
  return key === prefix || key.startsWith(`${prefix}/`);
}

function commonParent(keys: readonly string[]): string {
  const paths = keys.map((key) => key.split('/').slice(0, -1));
  const first = paths[0]!;
  const differs = first.findIndex((part, i) => paths.some((p) => p[i] !== part));
  const shared = first.slice(0, differs < 0 ? first.length : differs);
  return shared.length > 0 ? shared.join('/') : keys[0]!;
}

function short(keys: readonly string[]): string {
  const shown = keys.slice(0, 16).map((k) => `'${k}'`);
  return shown.join(', ') + (keys.length > 16 ? ` and ${keys.length - 16} more` : '');
}
