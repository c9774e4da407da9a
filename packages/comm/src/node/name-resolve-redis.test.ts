import { createClient } from '@redis/client';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { CommError } from '@realhf/api';
import { nameResolveSuite, stopRefreshing } from '../testing/name-resolve-suite.js';
import { startRedis } from '../testing/redis-server.js';
import type { RedisServer } from '../testing/redis-server.js';
import { redisNameResolve } from './name-resolve-redis.js';

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server.stop();
});

nameResolveSuite('names in Redis', async () => {
  const cleaner = await createClient({ url: server.url }).connect();
  await cleaner.flushAll();
  cleaner.destroy();
  return { open: () => redisNameResolve({ url: server.url, pollMs: 2 }), kill: stopRefreshing };
});

it('a server that is not there, or goes, is an error and not a wait', async () => {
  const other = await startRedis();
  const names = await redisNameResolve({ url: other.url });
  await names.add('a', '1', { ttlSeconds: 60 });
  const wait = expect(names.wait('b')).rejects.toThrow(/Redis refused GET.*still run/);
  await other.stop();
  await wait;
  await expect(names.get('a')).rejects.toThrow(CommError);
  await names.close();
  const gone = redisNameResolve({ url: other.url, connectTimeoutMs: 50 });
  await expect(gone).rejects.toThrow(/Redis at 127.0.0.1:\d+ can't be reached: .*ECONNREFUSED/);
});
