/** examples/ppo-two-meshes.ts as a program of its own, four worker processes and all. */
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { useReal } from './real-process.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal(join(import.meta.dirname, '../../../../examples/ppo-two-meshes.ts'));

it('PPO on two meshes runs and moves parameters between layouts', async () => {
  const example = start([], { cwd, env: { TMPDIR: cwd } });
  expect(await example.ended, example.stderr).toBe(0);
  expect(example.stderr).toMatch(/step 2\/2 .* reward /);
  // Two steps, four ranks: parameters come before a generation and are let go after it.
  expect(example.stdout).toMatch(/^16 ends of reallocations; /m);
});
