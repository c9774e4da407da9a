import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { algorithmNames } from '../plan/options.js';
import { runCli } from '../run-cli.js';
import { graphCommand } from './command.js';

async function real(...words: string[]) {
  let out = '';
  let err = '';
  const code = await runCli([graphCommand], ['graph', ...words], {
    stdout: { write: (t: string) => (out += t) },
    stderr: { write: (t: string) => (err += t) },
    env: {},
    signal: new AbortController().signal,
    version: '0',
  });
  return { code, out, err };
}

it.each(algorithmNames)('real graph %s', async (name) => {
  const text = await real(name);
  expect(text.out).toMatch(/^step of 256 sequences\n/);
  expect((await real(name, '--format', 'mermaid')).out).toMatch(/^flowchart TD\n/);
  expect((await real(name, 'format=svg')).out).toMatch(/^<svg [^]*<\/svg>\n$/);
});

it('writes a file, and says what it cannot do', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'realhf-graph-'));
  try {
    const file = join(dir, 'ppo.svg');
    expect(await real('ppo', '--format=svg', '--output', file)).toMatchObject({ code: 0, out: '' });
    expect(readFileSync(file, 'utf8')).toMatch(/^<svg/);
    const nowhere = await real('ppo', `output=${join(dir, 'a', 'b')}`);
    expect(nowhere).toMatchObject({ code: 2 });
    expect(nowhere.err).toMatch(/can't write output/);
    expect((await real('ppq')).err).toMatch(/'ppq', expected one of ppo, ppo-ema, /);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
