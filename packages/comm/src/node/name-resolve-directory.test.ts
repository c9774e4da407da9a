import { mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, expect, it, vi } from 'vitest';

import { nameResolveSuite, stopRefreshing } from '../testing/name-resolve-suite.js';
import { directoryNameResolve } from './name-resolve-directory.js';

const folders: string[] = [];
async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'names-'));
  folders.push(path);
  return path;
}
afterEach(async () => {
  for (const path of folders.splice(0)) await rm(path, { recursive: true });
});

nameResolveSuite('names in a directory', async () => {
  const path = await folder();
  return {
    open: () => Promise.resolve(directoryNameResolve(join(path, 'run'), { pollMs: 2 })),
    kill: stopRefreshing,
  };
});

it('leaves no drafts behind, whoever wins', async () => {
  const path = await folder();
  const names = directoryNameResolve(path);
  await Promise.allSettled(Array.from({ length: 9 }, (_, i) => names.add('k', String(i))));
  expect(await readdir(join(path, 'k'))).toEqual(['=entry']);
});

it('a takeover that died half way does not hold a key for ever', async () => {
  const path = await folder();
  const names = directoryNameResolve(path);
  await names.add('k', 'old', { ttlSeconds: 60 });
  await mkdir(join(path, 'k', '=takeover'));
  const hourAgo = Date.now() / 1000 - 3600;
  for (const file of ['=entry', '=takeover']) await utimes(join(path, 'k', file), hourAgo, hourAgo);
  // The first to come clears the lock, a later one takes the key over.
  await vi.waitFor(async () => {
    await names.add('k', 'new');
  });
  expect(await names.get('k')).toBe('new');
});
