import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { interfaces } from '@realhf/api';
import { expect, it } from 'vitest';

import { commands } from '../commands.js';
import { useFolder } from '../e2e/tiny.js';
import * as cli from '../index.js';
import { runCli } from '../run-cli.js';
import { provideModules } from './load.js';

const dir = useFolder();
provideModules({ '@realhf/cli': cli });
const real = async (...words: string[]) => {
  let out = '';
  const output = { write: (t: string) => (out += t) };
  const code = await runCli(commands, words, {
    stdout: output,
    stderr: output,
    env: {},
    signal: new AbortController().signal,
    version: '0',
  });
  return { code, out };
};
const file = (name: string, text: string) => {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};
const experiment = (name: string) => `registerExperiment({
  name: '${name}',
  summary: 'says ${name}',
  schema: z.object({
    ...commonShape,
    word: z.string().default('hello').describe('what is said'),
  }),
  spec: (config: { word: string; user_modules: string[] }) => {
    throw new ConfigError('said ' + config.word + ' by ' + config.user_modules.length);
  },
});`;
const head = `
import { ConfigError, interfaces } from '@realhf/api';
import { commonShape, registerExperiment } from '@realhf/cli';
import { z } from 'zod';
`;

it('runs what a file registers, with its options and their help', async () => {
  const path = file('one-of-mine.mts', head + experiment('mine'));
  const help = await real('run', path, '--help');
  expect(help.out).toMatch(/says mine/);
  expect(help.out).toMatch(/word +string +hello +what is said/);
  expect(await real('run', path, 'experiment_name=x', 'word=bye')).toEqual({
    code: 2,
    out: 'real: said bye by 1\n',
  });
  expect((await real('run', path, 'experiment_name=x', 'wrod=bye')).out).toMatch(
    /wrod.*did you mean 'word'/,
  );
});

it('asks which of several, and says what is wrong with a file', async () => {
  const two = file('two.mts', head + experiment('a') + experiment('b'));
  expect((await real('run', two)).out).toMatch(/registers a, b; say which: real run .*two\.mts:a/);
  expect((await real('run', `${two}:b`, 'experiment_name=x')).out).toMatch(/said hello/);
  expect((await real('run', `${two}:c`)).out).toMatch(/registers no 'c'; it registers a, b/);
  expect((await real('run', join(dir, 'none.mts'))).out).toMatch(/there is no file .*none\.mts/);
  expect((await real('run', file('bad.mts', 'export const = 1;'))).out).toMatch(
    /bad\.mts does not load/,
  );
  expect((await real('run', file('empty.mts', 'export {};'))).out).toMatch(
    /registers no experiment/,
  );
  expect((await real('run')).out).toMatch(/which file\?/);
});

it('loads user_modules of any command into this program', async () => {
  const path = file(
    'module.ts',
    `import { interfaces } from '@realhf/api';
     interfaces.register('of_a_user', () => ({}));`,
  );
  const { out } = await real(
    'sft',
    'experiment_name=x',
    'model.path=nowhere',
    'dataset.train_path=none.jsonl',
    `user_modules=[${path}]`,
  );
  expect(out).toMatch(/nowhere/);
  expect(interfaces.names()).toContain('of_a_user');
});

it('knows a dataset type of a user: its options in the help, its checks, its name', async () => {
  const example = join(import.meta.dirname, '../../../../examples/custom/counting-dataset.ts');
  const words = ['ppo', `user_modules=[${example}]`];
  const help = await real(...words, 'dataset.type=counting', '--help');
  expect(help.out).toMatch(/dataset\.args: options of dataset type counting\n/);
  expect(help.out).toMatch(/dataset\.args\.letters +string +abcd +what is counted through/);
  const required = ['experiment_name=x', 'dataset.path=none'];
  const bad = await real(...words, 'dataset.type=counting', 'dataset.args.lenght=2');
  expect(bad.out).toMatch(/'dataset\.args\.lenght'.*did you mean 'dataset\.args\.length'/);
  expect((await real(...words, 'dataset.type=conting')).out).toMatch(
    /unknown dataset type 'conting'; known: .*counting/,
  );
  expect((await real('ppo', '--help')).out).not.toContain('dataset.args');
  const yaml = file('run.yaml', `user_modules: [${example}]\ndataset:\n  type: counting\n`);
  const zero = await real('ppo', '--config', yaml, ...required, 'dataset.args.size=0');
  expect(zero.out).toMatch(/option 'dataset\.args\.size' is 0: expected more than 0/);
});
