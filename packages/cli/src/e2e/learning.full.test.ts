/**
 * Every algorithm learns its toy task: examples/algorithms/* and the examples with a verifiable reward and with a tool, as
 * programs of their own on SwiftShader, with fixed seeds. The numbers are printed.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { algorithmNames } from '../plan/options.js';
import { useReal } from './real-process.js';
import { useFolder } from './tiny.js';

const root = join(import.meta.dirname, '../../../..');
const folder = join(root, 'examples/algorithms');
const temporary = useFolder();

/** [start at most, end at least] of what an example reports; of a loss that falls, [start at least, end at most]. */
const bounds: Readonly<Record<string, readonly [number, number]>> = {
  'algorithms/sft': [1, 0.65],
  'algorithms/rw': [0.7, 0.9],
  'algorithms/dpo': [0.7, 0.9],
  'algorithms/simpo': [0.85, 0.95],
  'algorithms/ppo': [0.2, 0.25],
  'algorithms/ppo-ema': [0.2, 0.25],
  'algorithms/grpo': [0.4, 0.8],
  'algorithms/rloo': [0.4, 0.8],
  'algorithms/remax': [0.35, 0.7],
  'algorithms/raft': [0.4, 0.7],
  // Of 250 problems: by chance either moves by less than 0.07.
  'custom/arithmetic-grpo': [0.45, 0.62],
  'custom/calculator-grpo': [0.2, 0.35],
};

it('there is an example of every algorithm', () => {
  const names = readdirSync(folder).map((f) => f.replace('.ts', ''));
  for (const name of [...algorithmNames, 'profile']) expect(names).toContain(name);
  for (const name of algorithmNames.filter((n) => n !== 'gen'))
    expect(bounds[`algorithms/${name}`]).toBeDefined();
});

const run = async (start: ReturnType<typeof useReal>) => {
  const began = performance.now();
  const example = start([], { cwd: root, env: { TMPDIR: temporary } });
  expect(await example.ended, example.stderr).toBe(0);
  const line = example.stdout.trimEnd().split('\n').at(-1)!;
  console.log(`${line} (${((performance.now() - began) / 1000).toFixed(0)} s)`);
  return (line.match(/\d+\.\d{3}/g) ?? []).map(Number);
};

// A suite each: only what runs is bundled.
describe.each(Object.entries(bounds))('%s', (name, [first, last]) => {
  const start = useReal(join(root, 'examples', `${name}.ts`));
  it('learns', async () => {
    const [before, after] = await run(start);
    const up = first > last ? -1 : 1;
    expect(up * before!).toBeLessThanOrEqual(up * first);
    expect(up * after!).toBeGreaterThanOrEqual(up * last);
  });
});

describe('algorithms/gen', () => {
  const start = useReal(join(folder, 'gen.ts'));
  it('answers as it learned', async () => {
    expect((await run(start))[0]).toBeGreaterThan(0.95);
  });
});

describe('algorithms/profile', () => {
  const start = useReal(join(folder, 'profile.ts'));
  it('measures', async () => {
    const example = start([], { cwd: root, env: { TMPDIR: temporary } });
    expect(await example.ended, example.stderr).toBe(0);
    expect(example.stdout).toContain('profile: 4 setups measured\n');
  });
});
