/**
 * Command lines of one test against a folder of its own with tiny models and data, run in this process on SwiftShader.
 * `refused` is what bad input must come to: one line on stderr, an exit code, nothing made or changed on disk.
 */
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { paramSpecs } from '@realhf/model';
import { readCheckpointConfig, writeCheckpointDir } from '@realhf/model/node';
import { afterAll, beforeAll, beforeEach, expect, vi } from 'vitest';

import { commands } from '../commands.js';
import { runCli } from '../run-cli.js';
import { ppoWords, sftWords, writeInputs } from './runs.js';
import { useFolder } from './tiny.js';

export interface Bench {
  /** A path in the test's folder. */
  readonly at: (...names: string[]) => string;
  readonly real: (words: readonly string[]) => Promise<{ code: number; err: string }>;
  /** Fails with one line that matches, and leaves the disk as it was. */
  readonly refused: (words: readonly string[], code: number, message: RegExp) => Promise<void>;
}

/** A fresh folder with the files of writeInputs before every test. */
export function useBench(): Bench {
  const root = useFolder();
  let dir = '';
  let count = 0;
  beforeAll(() => {
    vi.stubEnv('REALHF_ADAPTER', 'swiftshader');
  });
  afterAll(() => {
    vi.unstubAllEnvs();
  });
  beforeEach(() => {
    dir = join(root, String(count++));
    mkdirSync(dir);
    writeInputs(dir);
  });
  const at = (...names: string[]) => join(dir, ...names);

  const real = async (words: readonly string[]) => {
    let err = '';
    const inDir = words.map((w) => w.replace(/=(lm|\w+\.jsonl)$/, `=${dir}/$1`));
    const code = await runCli(commands, inDir, {
      stdout: { write: () => true },
      stderr: { write: (t: string) => (err += t) },
      env: {},
      signal: new AbortController().signal,
      version: '0',
    });
    return { code, err };
  };
  const files = (): Map<string, string> => {
    const out = new Map<string, string>();
    for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' }).sort())
      out.set(name, statSync(at(name)).isFile() ? readFileSync(at(name)).toString('base64') : '');
    return out;
  };
  return {
    at,
    real,
    async refused(words, code, message) {
      const before = files();
      const result = await real(words);
      expect(result.err).toMatch(/^real: [^\n]+\n$/);
      expect(result.err).toMatch(message);
      expect(result.err).not.toContain('unexpected');
      expect(result.code).toBe(code);
      expect(files()).toEqual(before);
    },
  };
}

/** Options by name; they replace those of the tiny run. */
type Changes = Readonly<Record<string, string>>;
const change = (words: readonly string[], changes: Changes) => [
  ...words.filter((w) => changes[w.slice(0, w.indexOf('='))] === undefined),
  ...Object.entries(changes).map(([k, v]) => `${k}=${v}`),
];

/** The tiny SFT run below a bench's folder. */
export const sft = (bench: Bench, changes: Changes = {}) =>
  change(sftWords, { fileroot: bench.at('real-runs'), ...changes });
export const ppo = (bench: Bench, changes: Changes = {}) =>
  change(ppoWords, { fileroot: bench.at('real-runs'), ...changes });
/** Changes that make SFT start from the weights in a folder. */
export const from = (path: string): Changes => ({
  'model.init_from_scratch': 'false',
  'model.config': 'null',
  'model.path': path,
});

/** Weights for `lm`, each parameter filled with one value, beside its config and tokenizer. */
export async function writeWeights(
  bench: Bench,
  to: string,
  value: (param: string) => number = () => 0.01,
): Promise<void> {
  const config = await readCheckpointConfig(bench.at('lm'));
  await writeCheckpointDir(to, {
    config,
    companionsFrom: bench.at('lm'),
    getParam: (name) =>
      new Float32Array(paramSpecs(config).find((s) => s.name === name)!.size).fill(value(name)),
  });
}
