import { test } from 'vitest';

import { onAdapters } from '../../testing/test-recorders.js';
import { checkGrouped, kinds, products } from './grouped-checks.js';

onAdapters((r) => {
  test.each(
    kinds.flatMap((kind) =>
      products.flatMap((p) => [false, true].map((gpu) => [kind, ...p, gpu] as const)),
    ),
  )('grouped %s of rows %j, %i×%i, GPU form %s', (kind, sizes, n, k, gpu) =>
    checkGrouped(r(), kind, sizes, n, k, gpu),
  );
});
