/** The example of docs/reallocation.md is what the code says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { drawRealloc, planRealloc } from '@realhf/comm';
import { replicaMaps } from '@realhf/model';
import { expect, it } from 'vitest';

import { llama } from './harness.js';
import { parallel } from './realloc-layouts.js';

it('the drawing in docs/reallocation.md', () => {
  const config = llama();
  const plan = planRealloc(
    replicaMaps(config, parallel(1, 2, 1), 2 ** 30),
    replicaMaps(config, parallel(4, 1, 1), 2 ** 30),
    { nodeOf: (rank) => Math.floor(rank / 2) },
  );
  const page = readFileSync(join(import.meta.dirname, '../../../../docs/reallocation.md'), 'utf8');
  expect(page).toContain(`\`\`\`text\n${drawRealloc(plan)}\n\`\`\``);
});
