/** Reallocation on a device between all layouts of up to eight ranks: 1,024 pairs each of llama and gpt2, actors and critics. */
import { expect, it } from 'vitest';

import { useOps } from './harness.js';
import { layouts, nameOf, smallConfigs } from './realloc-layouts.js';
import { reallocDifference } from './realloc-suite.js';

const ops = useOps();
it.each([
  ['llama', 'llama', 1],
  ['llama', 'llama critic', 1],
  ['gpt2 tied', 'gpt2 tied', 0.25],
] as const)('%s → %s, eta %f', async (source, target, eta) => {
  let pair = 0;
  for (const from of layouts)
    for (const to of layouts) {
      pair++;
      const wrong = await reallocDifference(ops(), smallConfigs[source]!, smallConfigs[target]!, {
        from,
        to,
        eta,
        shift: [0, 3, 8][pair % 3]!,
        perNode: [1, 2, 4, 8][pair % 4]!,
        maxElements: pair % 5 === 0 ? 100 : 1 << 22,
        wire: pair % 7 === 0 ? 'f16' : 'f32',
      });
      expect(wrong, `${nameOf(from)} → ${nameOf(to)}`).toBeUndefined();
    }
});
