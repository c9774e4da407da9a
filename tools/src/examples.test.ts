/** The examples run as they stand, on SwiftShader; `npm run check` type-checks them. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');

function run(name: string): string[] {
  const output = execFileSync('node', ['tools/example.mjs', name], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, REALHF_ADAPTER: 'swiftshader' },
  });
  return output.trimEnd().split('\n');
}

test('custom-trainer: the loss falls, and the model counts', () => {
  const lines = run('custom-trainer');
  const losses = lines.flatMap((l) => / loss ([\d.]+)$/.exec(l)?.slice(1).map(Number) ?? []);
  expect(losses.length).toBeGreaterThan(4);
  expect(losses).toEqual(losses.toSorted((a, b) => b - a));
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 4);
  expect(lines.at(-1)).toBe('3 4 → 5 6 7 8 9 10');
});

test('policy-loss: a clipped token is not pushed', () => {
  const lines = run('policy-loss');
  expect(lines).toHaveLength(7);
  expect(lines[0]).toMatch(/^PPO .* 0\.000 .* -0\.960$/);
  expect(lines[2]).toMatch(/^dual clip .* 0\.000$/);
});

test('draw-ppo-graph: every call and what flows between them', () => {
  const drawing = run('draw-ppo-graph').join('\n');
  for (const call of [
    'actor_gen',
    'rew_inf',
    'ref_inf',
    'critic_inf',
    'actor_train',
    'critic_train',
  ])
    expect(drawing).toContain(call);
});

test('examples stay short', () => {
  const files = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' });
  for (const file of files.filter((f) => /\.m?ts$/.test(f))) {
    const lines = readFileSync(join(root, 'examples', file), 'utf8').split('\n').length;
    expect(lines, file).toBeLessThan(120);
  }
});
