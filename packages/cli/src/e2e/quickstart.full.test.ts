/** The quickstart's promises on SwiftShader, for three seeds: the gain, the KL cap, no collapse, six minutes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { shortcomings, type Summary } from '../quickstart/summary.js';
import { useReal } from './real-process.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();

test.each([1, 2, 3])(
  'seed %i',
  async (seed) => {
    const out = `seed${seed}`;
    const run = start(['quickstart', '--out', out, '--seed', String(seed)], { cwd });
    expect(await run.ended, run.stderr).toBe(0);
    const summary = JSON.parse(readFileSync(join(cwd, out, 'summary.json'), 'utf8')) as Summary;
    console.log(JSON.stringify(summary));
    expect(shortcomings(summary)).toEqual([]);
    expect(summary.heldOutPrompts).toBe(256);
    expect(summary.seconds).toBeLessThan(360);
  },
  600_000,
);
