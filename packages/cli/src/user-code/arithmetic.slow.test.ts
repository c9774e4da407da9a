/** examples/custom/arithmetic-grpo.ts: a verifiable reward in TypeScript teaches what SFT did not. */
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { useReal } from '../e2e/real-process.js';
import { useFolder } from '../e2e/tiny.js';

const root = join(import.meta.dirname, '../../../..');
const temporary = useFolder();
const start = useReal(join(root, 'examples/custom/arithmetic-grpo.ts'));

it('raises the accuracy on held-out problems', async () => {
  const example = start([], { cwd: root, env: { TMPDIR: temporary } });
  expect(await example.ended, example.stderr).toBe(0);
  const [, before, after] =
    /held-out accuracy: (\S+) after SFT, (\S+) after GRPO/.exec(example.stdout) ?? [];
  // 240 problems: chance moves either by less than 0.07.
  expect(Number(before)).toBeLessThan(0.6);
  expect(Number(after)).toBeGreaterThan(Number(before) + 0.25);
});
