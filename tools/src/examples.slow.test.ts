/** Examples that train for a while, on SwiftShader. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

import { expect, test } from 'vitest';

test('load-and-eval-reward: a reward model trained, saved, loaded, better than chance', () => {
  const output = execFileSync('node', ['tools/example.mjs', 'load-and-eval-reward'], {
    cwd: join(import.meta.dirname, '../..'),
    encoding: 'utf8',
    env: { ...process.env, REALHF_ADAPTER: 'swiftshader' },
  });
  const [, accuracy, half] = /accuracy ([\d.]+) ± ([\d.]+)/.exec(output) ?? [];
  expect(Number(accuracy) - Number(half)).toBeGreaterThan(0.55);
}, 300_000);
