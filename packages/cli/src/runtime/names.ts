/** Where master and workers of a run find each other: the run's own directory, or Redis. */
import { ConfigError } from '@realhf/api';
import type { NameResolve } from '@realhf/comm';
import { directoryNameResolve, redisNameResolve } from '@realhf/comm/node';

/** `where`: an absolute directory, or `redis://…` / `rediss://…`. */
export async function openNames(where: string): Promise<NameResolve> {
  if (/^rediss?:/.test(where)) return redisNameResolve({ url: where, pollMs: 20 });
  if (where.includes('://'))
    throw new ConfigError(`names.url is '${where}'; use redis://host:port, or leave it out`);
  return directoryNameResolve(where, { pollMs: 20 });
}

/** Keys below the prefix of a run (reference: S7). */
export const controlKey = (prefix: string) => `${prefix}/request_reply_stream/master`;
export const sampleKey = (prefix: string, worker: string) => `${prefix}/sample_stream/${worker}`;
export const tensorPrefix = (prefix: string) => `${prefix}/distributed/nccl`;
export const worldPrefix = (prefix: string) => `${prefix}/distributed/peer`;
