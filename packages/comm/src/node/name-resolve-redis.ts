/**
 * Names in Redis, by the optional peer `@redis/client`. Every change is one command or one script, so of clients that
 * add the same key at once one gets through, and a refresh or a close never touches a key that another has replaced.
 */
import { randomUUID } from 'node:crypto';

import { CommError, ConfigError } from '@realhf/api';
import { checkKey, checkTtl, isWithin, takenError } from '../name-resolve/name-resolve.js';
import type { AddOptions, NameResolve, WaitOptions } from '../name-resolve/name-resolve.js';
import { pollFor } from '../name-resolve/polling.js';

/** Where Redis is. */
export interface RedisNameResolveOptions {
  /** `redis://[user:password@]host:port[/database]`, or `rediss://` over TLS. */
  readonly url: string;
  /** Milliseconds until a server that doesn't answer is an error; default 10,000. */
  readonly connectTimeoutMs?: number;
  /** Milliseconds between two looks of `wait`; default 100. */
  readonly pollMs?: number;
}

/** What is used of the client, so that our declarations don't need its own. */
interface Client {
  sendCommand(args: string[]): Promise<unknown>;
  destroy(): void;
}

/** Stored as owner id, a newline, value: so a script can tell whether the key is still the owner's. */
const REFRESH = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`;
const DELETE_OWN = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

/** Connects. Throws ConfigError where `@redis/client` isn't installed, CommError where the server doesn't answer. */
export async function redisNameResolve(options: RedisNameResolveOptions): Promise<NameResolve> {
  const createClient = await loadClient();
  const timeoutMs = options.connectTimeoutMs ?? 10_000;
  const client = createClient({
    url: options.url,
    // Commands fail at once while the connection is down, instead of queueing up for a server that may never return.
    disableOfflineQueue: true,
    socket: {
      connectTimeout: timeoutMs,
      reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 2000),
    },
  });
  let last: unknown;
  client.on('error', (e: unknown) => {
    last = e;
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`no answer in ${timeoutMs} ms`, { cause: last }));
    }, timeoutMs);
  });
  try {
    await Promise.race([client.connect(), late]);
  } catch (cause) {
    client.destroy();
    const why = last ?? cause;
    const { host } = new URL(options.url);
    throw new CommError(
      `Redis at ${host} can't be reached: ${why instanceof Error ? why.message : String(why)}; does the server run, is the url right?`,
      { cause },
    );
  } finally {
    clearTimeout(timer);
  }
  return new RedisNameResolve(client, options.pollMs ?? 100);
}

async function loadClient() {
  try {
    return (await import('@redis/client')).createClient;
  } catch (cause) {
    throw new ConfigError(
      'names in Redis need the package @redis/client, which is not installed; run npm install @redis/client',
      { cause },
    );
  }
}

class RedisNameResolve implements NameResolve {
  private readonly client: Client;
  private readonly pollMs: number;
  private readonly id = randomUUID();
  private readonly closing = new AbortController();
  private readonly own = new Map<string, { stored: string; timer: NodeJS.Timeout }>();
  constructor(client: Client, pollMs: number) {
    this.client = client;
    this.pollMs = pollMs;
  }

  async add(key: string, value: string, options: AddOptions = {}): Promise<void> {
    this.check(key);
    checkTtl(options.ttlSeconds);
    const { ttlSeconds } = options;
    const stored = `${this.id}\n${value}`;
    const ttlMs = ttlSeconds === undefined ? undefined : Math.max(1, Math.round(ttlSeconds * 1000));
    const args = ['SET', key, stored];
    if (options.replace !== true) args.push('NX');
    if (ttlMs !== undefined) args.push('PX', String(ttlMs));
    if ((await this.run(args)) !== 'OK') throw takenError(key, await this.get(key));
    this.forget(key);
    if (ttlMs !== undefined) this.keep(key, stored, ttlMs);
  }

  async get(key: string): Promise<string | undefined> {
    this.check(key);
    return valueOf(await this.run(['GET', key]));
  }

  async wait(key: string, options: WaitOptions = {}): Promise<string> {
    this.check(key);
    return pollFor(this, key, options.timeoutMs ?? 60_000, this.pollMs, this.closing.signal);
  }

  async getSubtree(prefix: string): Promise<Map<string, string>> {
    const keys = await this.scan(prefix);
    if (keys.length === 0) return new Map();
    const values = (await this.run(['MGET', ...keys])) as unknown[];
    const found = keys.map((key, i) => [key, valueOf(values[i])] as const);
    return new Map(found.filter((e): e is [string, string] => e[1] !== undefined));
  }

  async findSubtree(prefix: string): Promise<string[]> {
    return [...(await this.getSubtree(prefix)).keys()];
  }

  async delete(key: string): Promise<boolean> {
    this.check(key);
    this.forget(key);
    return (await this.run(['DEL', key])) === 1;
  }

  async clearSubtree(prefix: string): Promise<void> {
    const keys = await this.scan(prefix);
    for (const key of keys) this.forget(key);
    if (keys.length > 0) await this.run(['DEL', ...keys]);
  }

  async close(): Promise<void> {
    if (this.closing.signal.aborted) return;
    this.closing.abort();
    const own = [...this.own];
    for (const [key] of own) this.forget(key);
    // With the server gone the keys go by themselves.
    await Promise.allSettled(
      own.map(([key, { stored }]) => this.run(['EVAL', DELETE_OWN, '1', key, stored])),
    );
    this.client.destroy();
  }

  /** All keys of a subtree, sorted. */
  private async scan(prefix: string): Promise<string[]> {
    this.check(prefix);
    const keys = new Set<string>();
    const pattern = `${prefix.replace(/[*?[\]\\^]/g, '\\$&')}*`;
    let cursor = '0';
    do {
      const reply = await this.run(['SCAN', cursor, 'MATCH', pattern, 'COUNT', '1000']);
      const [next, page] = reply as [string, string[]];
      for (const key of page) if (isWithin(key, prefix)) keys.add(key);
      cursor = next;
    } while (cursor !== '0');
    return [...keys].sort();
  }

  private keep(key: string, stored: string, ttlMs: number): void {
    const timer = setInterval(() => {
      // A refresh that fails (the server restarts) is made up for by the next one; a lost key is gone for good.
      this.run(['EVAL', REFRESH, '1', key, stored, String(ttlMs)]).then(
        (kept) => {
          if (kept === 0 && this.own.get(key)?.timer === timer) this.forget(key);
        },
        () => undefined,
      );
    }, ttlMs / 3);
    timer.unref();
    this.own.set(key, { stored, timer });
  }

  private forget(key: string): void {
    clearInterval(this.own.get(key)?.timer);
    this.own.delete(key);
  }

  private async run(args: string[]): Promise<unknown> {
    try {
      return await this.client.sendCommand(args);
    } catch (cause) {
      if (this.closing.signal.aborted)
        throw new CommError(`${args[0]!}: this client is closed`, { cause });
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new CommError(`Redis refused ${args[0]!}: ${why}; does the server still run?`, {
        cause,
      });
    }
  }

  private check(key: string): void {
    if (this.closing.signal.aborted) throw new CommError(`'${key}': this client is closed`);
    checkKey(key);
  }
}

function valueOf(stored: unknown): string | undefined {
  return typeof stored === 'string' ? stored.slice(stored.indexOf('\n') + 1) : undefined;
}
