/**
 * A folder written whole or not at all: filled under a temporary name beside its place, fsynced, then renamed. A
 * reader of `dir` sees the old content or the new one; a crash leaves at most a `.tmp-…` or `.old-…` sibling.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { CheckpointError } from '@realhf/api';
import { exists } from './weights-dir.js';

/** Calls `fill` with the temporary folder. Throws CheckpointError if `dir` exists and `overwrite` is not set. */
export async function replaceDir(
  dir: string,
  fill: (temporary: string) => Promise<void>,
  { overwrite = false }: { overwrite?: boolean } = {},
): Promise<void> {
  const target = resolve(dir);
  const refuse = async () => {
    if (!overwrite && (await exists(target)))
      throw new CheckpointError(
        `${dir} exists already; remove it, choose another or set overwrite`,
      );
  };
  await refuse();
  const suffix = randomUUID().slice(0, 8);
  const temporary = `${target}.tmp-${suffix}`;
  await mkdir(temporary, { recursive: true });
  try {
    await fill(temporary);
    await syncTree(temporary);
    await refuse();
    const old = `${target}.old-${suffix}`;
    const had = await exists(target);
    if (had) await rename(target, old);
    await rename(temporary, target);
    await syncPath(dirname(target));
    if (had) await rm(old, { recursive: true });
  } catch (e) {
    await rm(temporary, { recursive: true, force: true });
    throw e;
  }
}

async function syncTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    await (entry.isDirectory() ? syncTree(path) : syncPath(path));
  }
  await syncPath(dir);
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
