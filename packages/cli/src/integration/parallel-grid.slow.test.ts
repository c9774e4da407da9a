/** Thirteen layouts equal one rank: loss, gradient, greedy tokens. All 38 are in parallel.full.test.ts. */
import { expect, test } from 'vitest';

import { useOps } from './harness.js';
import { allLayouts, checkLayout } from './parallel-grid.js';

const ops = useOps();

test.each([
  ['llama', 'd2m1p1'],
  ['gpt2', 'd1m2p1'],
  ['gpt2', 'd1m1p2'],
  ['llama', 'd2m2p1s'],
  ['llama', 'd1m2p2'],
  ['gpt2', 'd2m1p2'],
  ['gpt2', 'd2m2p2s'],
  ['llama', 'd2m2p2'],
  ['llama', 'd1m4p2'],
  ['gpt2', 'd1m4p1s'],
  ['llama', 'd8m1p1'],
  ['llama', 'd1m8p1'],
  ['llama', 'd1m1p8'],
])('%s %s', async (family, layout) => {
  await checkLayout(ops(), family, layout, [4]);
});

test('there are 38 of them', () => {
  expect(new Set(allLayouts).size).toBe(38);
});
