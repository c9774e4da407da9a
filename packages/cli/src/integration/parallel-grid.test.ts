/** A grid of eight ranks, all kinds of parallelism at once, equals one rank: loss, gradient, greedy tokens. */
import { expect, test } from 'vitest';

import { useOps } from './harness.js';
import { allLayouts, checkLayout } from './parallel-grid.js';

const ops = useOps();

test('llama d2m2p2s', async () => {
  await checkLayout(ops(), 'llama', 'd2m2p2s', [3]);
});

test('there are 38 layouts of at most eight ranks', () => {
  expect(new Set(allLayouts).size).toBe(38);
});
