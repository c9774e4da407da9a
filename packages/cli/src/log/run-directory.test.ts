import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseOptions, splitArguments } from '../options/parse.js';
import { sftSchema } from '../options/schemas/sft.js';
import { defaultTrialName, openRunDirectory } from './run-directory.js';

const root = mkdtempSync(join(tmpdir(), 'real-run-'));
afterAll(() => {
  rmSync(root, { recursive: true });
});

const config = (...words: string[]) =>
  parseOptions(
    sftSchema,
    splitArguments([
      ...['experiment_name=e', 'model.path=m', 'dataset.train_path=t', `fileroot=${root}`],
      ...words,
    ]),
  ).config;

describe('openRunDirectory', () => {
  it('lays out a run and refuses to start it twice', () => {
    const run = openRunDirectory(config('trial_name=a'));
    expect(run.path).toBe(join(root, 'e', 'a'));
    expect(run.resume).toBeUndefined();
    const saved = parse(readFileSync(join(run.path, 'config.yaml'), 'utf8')) as unknown;
    expect(saved).toEqual(config('trial_name=a'));
    expect(() => openRunDirectory(config('trial_name=a', 'recover_mode=auto'))).toThrow('in use');
    run.close();
    expect(() => openRunDirectory(config('trial_name=a'))).toThrow('exists already');
    expect(existsSync(join(run.path, 'run.lock'))).toBe(false);
  });
  it('names a run after its start', () => {
    expect(defaultTrialName(new Date(2026, 0, 2, 3, 4, 5))).toBe('run20260102-030405');
    const run = openRunDirectory(config(), new Date(2026, 0, 2, 3, 4, 5));
    expect(run.trialName).toBe('run20260102-030405');
    run.close();
  });
  it('resumes from the newest checkpoint and tells what changed', async () => {
    const resume = ['trial_name=b', 'recover_mode=resume'];
    expect(() => openRunDirectory(config(...resume))).toThrow('found no complete checkpoint');
    const first = openRunDirectory(config('trial_name=b', 'recover_mode=auto'));
    expect(first.resume).toBeUndefined();
    await first.checkpoints.save(4, (w) => w.state({ step: 4 }));
    first.close();
    const second = openRunDirectory(config(...resume, 'model.optimizer.lr=1'));
    expect(second.resume?.state()).toEqual({ step: 4 });
    expect(second.changed).toEqual(['model.optimizer.lr']);
    expect(existsSync(join(second.path, 'config.1.yaml'))).toBe(true);
    second.close();
    const third = openRunDirectory(config(...resume, 'model.optimizer.lr=1'));
    expect(third.changed).toEqual([]);
    expect(existsSync(join(third.path, 'config.2.yaml'))).toBe(false);
    third.close();
  });
});
