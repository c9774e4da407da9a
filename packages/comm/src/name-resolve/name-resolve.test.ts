import { expect, it } from 'vitest';

import { memoryNameResolve } from './memory.js';
import { waitAll } from './name-resolve.js';

it('a long list of missing names is cut short', async () => {
  const names = memoryNameResolve();
  const keys = Array.from({ length: 40 }, (_, i) => `run/worker/${i}`);
  for (const key of keys.slice(0, 20)) await names.add(key, '');
  const error: unknown = await waitAll(names, keys, { timeoutMs: 1 }).catch((e: unknown) => e);
  expect(String(error)).toMatch(/for 20 names, 'run\/worker\/20', .* and 4 more: not there/);
  expect(String(error)).toMatch(/under 'run\/worker' there is 'run\/worker\/0', .* and 4 more;/);
});
