/**
 * Every layout of at most eight ranks equals one rank for one, two and four microbatches: loss, gradient norm, full
 * gradient, greedy tokens. gpt2 (odd, tied vocabulary) with sequence parallelism where there is tensor parallelism;
 * mixtral is in parallel-moe.full.test.ts.
 */
import { test } from 'vitest';

import { useOps } from './harness.js';
import { allLayouts, checkLayout } from './parallel-grid.js';

const ops = useOps();

test.each(allLayouts)('llama %s', async (layout) => {
  await checkLayout(ops(), 'llama', layout, [1, 2, 4]);
});
test.each(allLayouts)('gpt2 %s', async (layout) => {
  await checkLayout(ops(), 'gpt2', layout.includes('m1') ? layout : `${layout}s`, [1, 2, 4]);
});
