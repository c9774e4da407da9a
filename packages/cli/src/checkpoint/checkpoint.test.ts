import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RunLock } from './lock.js';
import { CheckpointStore, type CheckpointWriter } from './store.js';

const root = mkdtempSync(join(tmpdir(), 'real-checkpoint-'));
afterAll(() => {
  rmSync(root, { recursive: true });
});
let dirs = 0;
const fresh = () => {
  const dir = join(root, String(dirs++));
  mkdirSync(dir);
  return dir;
};

const fill = (n: number) => async (w: CheckpointWriter) => {
  await writeFile(join(await w.modelDir('actor'), 'weights'), `w${n}`);
  await w.blob('adam_m', Float32Array.of(n, 0.1, -0));
  await w.blob('norm', Float64Array.of(n, 1 / 3));
  await w.state({ step: n, rng: [1, 2] });
};

describe('CheckpointStore', () => {
  it('gives back what was saved', async () => {
    const store = new CheckpointStore({ dir: fresh() });
    expect(store.latest()).toBeUndefined();
    await store.save(10, fill(10));
    const saved = store.latest()!;
    expect(saved.step).toBe(10);
    expect(saved.path).toBe(join(store.dir, 'step-000010'));
    expect(saved.state()).toEqual({ step: 10, rng: [1, 2] });
    expect(await saved.blob('adam_m')).toEqual(Float32Array.of(10, 0.1, -0));
    expect(await saved.blob('norm')).toEqual(Float64Array.of(10, 1 / 3));
    expect(readFileSync(join(saved.modelDir('actor'), 'weights'), 'utf8')).toBe('w10');
    expect(readFileSync(join(store.dir, 'latest'), 'utf8')).toBe('step-000010\n');
    await expect(saved.blob('none')).rejects.toThrow("no blob 'none'; it has adam_m, norm");
    expect(() => saved.modelDir('critic')).toThrow('has no models/critic');
  });
  it('never overwrites', async () => {
    const store = new CheckpointStore({ dir: fresh() });
    await store.save(1, fill(1));
    await expect(store.save(1, fill(2))).rejects.toThrow('exists already');
    await expect(
      store.save(2, async (w) => {
        await w.state(1);
        await w.state(2);
      }),
    ).rejects.toThrow('EEXIST');
    await expect(store.save(2, (w) => w.blob('../x', new Uint8Array(1)))).rejects.toThrow(
      "can't name",
    );
  });
  it('a failed save leaves nothing, a killed one is ignored and cleared', async () => {
    const store = new CheckpointStore({ dir: fresh() });
    await store.save(1, fill(1));
    await expect(store.save(2, () => Promise.reject(new Error('disk full')))).rejects.toThrow(
      'disk full',
    );
    expect(readdirSync(store.dir).sort()).toEqual(['latest', 'step-000001']);
    mkdirSync(join(store.dir, '.partial-step-000003'));
    expect(store.latest()!.step).toBe(1);
    await store.save(3, fill(3));
    expect(readdirSync(store.dir).sort()).toEqual(['latest', 'step-000001', 'step-000003']);
  });
  it.each(['blobs/adam_m.bin', 'models/actor/weights', 'checkpoint.json', 'state.json'])(
    'skips a checkpoint whose %s is cut, and keeps it when the step is saved again',
    async (file) => {
      const store = new CheckpointStore({ dir: fresh() });
      await store.save(1, fill(1));
      await store.save(2, fill(2));
      truncateSync(join(store.dir, 'step-000002', file), 1);
      expect(store.latest()!.step).toBe(1);
      await store.save(2, fill(2));
      expect(store.latest()!.step).toBe(2);
      expect(readdirSync(store.dir).filter((n) => n.includes('.torn-'))).toHaveLength(1);
    },
  );
  it('notices flipped bytes', async () => {
    const store = new CheckpointStore({ dir: fresh() });
    const saved = await store.save(1, fill(1));
    const path = join(saved.path, 'blobs', 'adam_m.bin');
    const bytes = readFileSync(path);
    bytes[5]! ^= 1;
    writeFileSync(path, bytes);
    await expect(saved.blob('adam_m')).rejects.toThrow('is damaged');
  });
  it('keeps the newest', async () => {
    const store = new CheckpointStore({ dir: fresh(), keep: 2 });
    for (const step of [5, 10, 15, 1_000_000]) await store.save(step, fill(step));
    expect(store.list().map((c) => c.step)).toEqual([15, 1_000_000]);
    expect(existsSync(join(store.dir, 'step-000005'))).toBe(false);
  });
});

describe('RunLock', () => {
  const owner = (fields: Record<string, unknown>) =>
    JSON.stringify({
      pid: process.pid,
      host: hostname(),
      startTicks: null,
      since: 'then',
      ...fields,
    });

  it('refuses a second holder until released', () => {
    const dir = fresh();
    const lock = new RunLock(dir);
    expect(() => new RunLock(dir)).toThrow(`in use by process ${process.pid}`);
    lock.release();
    lock.release();
    new RunLock(dir).release();
    expect(readdirSync(dir)).toEqual([]);
  });
  it('takes over from a dead process', () => {
    const dir = fresh();
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    writeFileSync(join(dir, 'run.lock'), owner({ pid: dead }));
    const lock = new RunLock(dir);
    expect(readFileSync(lock.path, 'utf8')).toContain(`"pid":${process.pid}`);
    lock.release();
    expect(readdirSync(dir)).toEqual([]);
  });
  it('refuses another host, a live pid without a start time, and an unreadable lock', () => {
    const dir = fresh();
    const path = join(dir, 'run.lock');
    writeFileSync(path, owner({ host: 'elsewhere' }));
    expect(() => new RunLock(dir)).toThrow('on host elsewhere');
    writeFileSync(path, owner({}));
    expect(() => new RunLock(dir)).toThrow('in use');
    writeFileSync(path, '{');
    expect(() => new RunLock(dir)).toThrow('is not a lock file');
    expect(readdirSync(dir)).toEqual(['run.lock']);
  });
  it('knows a pid that was given to a later process, where the system tells', () => {
    const dir = fresh();
    writeFileSync(join(dir, 'run.lock'), owner({ startTicks: '1' }));
    if (existsSync('/proc/self/stat')) new RunLock(dir).release();
    else expect(() => new RunLock(dir)).toThrow('in use');
  });
});
