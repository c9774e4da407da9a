import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, it } from 'vitest';
import { z } from 'zod';

import { useFolder, writeModelDir } from '../e2e/tiny.js';
import { profileSchema, runProfile } from './profile.js';
import { configOf, testContext, useDevice } from './test-run.js';

const dir = useFolder();
const device = useDevice();
const lm = writeModelDir(join(dir, 'lm'));
const line = z.object({
  setup: z.record(z.string(), z.unknown()),
  error: z.string().optional(),
  stepSeconds: z.number().optional(),
  seconds: z.record(z.string(), z.number()).optional(),
  tokensPerSecond: z.record(z.string(), z.number()).optional(),
});
const profile = async (name: 'sft' | 'remax', ...words: string[]) => {
  const config = configOf(profileSchema(name), [
    `fileroot=${join(dir, 'runs')}`,
    `trial_name=${name}`,
    'profile_steps=2',
    'dataset.train_bs_n_seqs=2',
    ...words,
  ]);
  const path = await runProfile(name, config, testContext(), device());
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((l) => line.parse(JSON.parse(l)));
};

it('measures every combination, and goes on after one that cannot run', async () => {
  const lines = await profile(
    'sft',
    'model.init_from_scratch=true',
    `model.config=${lm}`,
    'dataset.max_seqlen=16',
    'grid=[dataset.train_bs_n_seqs=2|4,allocation.n_mbs=1|3]',
  );
  expect(lines.map((l) => Object.values(l.setup))).toEqual([
    [2, 1],
    [2, 3],
    [4, 1],
    [4, 3],
  ]);
  expect(lines[1]!.error).toMatch('n_mbs');
  for (const l of [lines[0]!, lines[2]!, lines[3]!]) {
    expect(Object.keys(l.seconds!)).toEqual(['trainDefault']);
    expect(l.seconds!.trainDefault).toBeGreaterThan(0);
    expect(l.stepSeconds).toBeGreaterThanOrEqual(l.seconds!.trainDefault!);
  }
  // All sequences are of max_seqlen tokens.
  const tokens = (l: (typeof lines)[number]) =>
    l.tokensPerSecond!.trainDefault! * l.seconds!.trainDefault!;
  expect(tokens(lines[0]!)).toBeCloseTo(32, 6);
  expect(tokens(lines[2]!)).toBeCloseTo(64, 6);
});

it('measures all calls of an algorithm', async () => {
  const [one] = await profile(
    'remax',
    ...['actor', 'rew'].flatMap((r) => [`${r}.init_from_scratch=true`, `${r}.config=${lm}`]),
    'dataset.max_prompt_len=8',
    'gen.max_new_tokens=4',
    'gen.min_new_tokens=4',
  );
  expect(Object.keys(one!.tokensPerSecond!).sort()).toEqual([
    ...['actor_train', 'greedy_gen', 'greedy_rw', 'sample_gen', 'sample_rw'],
  ]);
});
