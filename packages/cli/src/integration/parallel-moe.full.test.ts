/** As parallel.full.test.ts, every layout of at most eight ranks against one, with every expert's inner dimension cut. */
import { test } from 'vitest';

import { useOps } from './harness.js';
import { allLayouts, checkLayout } from './parallel-grid.js';

const ops = useOps();

test.each(allLayouts)('mixtral %s', async (layout) => {
  await checkLayout(ops(), 'mixtral', layout, [1, 2, 4]);
});
