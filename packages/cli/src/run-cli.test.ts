import { CheckpointError } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineCommand } from './options/command.js';
import { sftSchema } from './options/schemas/sft.js';
import { runCli } from './run-cli.js';

const greet = defineCommand({
  name: 'greet',
  summary: 'say hello',
  positional: ['name'],
  schema: z.object({
    name: z.string().describe('whom to greet'),
    times: z.number().int().positive().default(1).describe('how often'),
  }),
  run(config, context) {
    if (config.name === 'nobody') throw new CheckpointError('nobody is\nhere');
    if (config.name === 'bug') throw new TypeError('x is undefined');
    context.stdout.write(`hello ${config.name.repeat(config.times)}\n`);
    return Promise.resolve();
  },
});
const sft = defineCommand({
  name: 'sft',
  summary: 'supervised fine-tuning',
  schema: sftSchema,
  run: () => Promise.resolve(),
});

async function real(words: string[], env: Record<string, string> = {}, columns = 120) {
  let out = '';
  let err = '';
  const code = await runCli([greet, sft], words, {
    stdout: { columns, write: (t: string) => (out += t) },
    stderr: { write: (t: string) => (err += t) },
    env,
    signal: new AbortController().signal,
    version: '1.2.3',
  });
  return { code, out, err };
}

describe('runCli', () => {
  it('runs a command', async () => {
    expect(await real(['greet', 'name=bo', 'times=2'])).toEqual({
      code: 0,
      out: 'hello bobo\n',
      err: '',
    });
  });
  it('takes bare words where the command does', async () => {
    expect((await real(['greet', 'times=2', 'bo'])).out).toBe('hello bobo\n');
    expect((await real(['greet', 'bo', 'ba'])).err).toBe(
      "real: 'ba' is not of the form key=value\n",
    );
    expect((await real(['greet', 'bo', 'name=ba'])).err).toContain('given twice (bo and ba)');
    expect((await real(['greet', '--help'])).out).toContain('Usage: real greet NAME [--config');
  });
  it('lists commands and prints its version', async () => {
    expect((await real([])).out).toContain('  greet  say hello');
    expect((await real(['--help'])).out).toContain('  sft    supervised fine-tuning');
    expect((await real(['--version'])).out).toBe('1.2.3\n');
  });
  it('usage errors are one line and exit 2', async () => {
    expect(await real(['gret'])).toEqual({
      code: 2,
      out: '',
      err: "real: unknown command 'gret'; did you mean 'greet'?\n",
    });
    expect((await real(['qqqqqqqq'])).err).toContain('commands are greet, sft');
    expect(await real(['greet'])).toEqual({
      code: 2,
      out: '',
      err: "real: option 'name' is missing (whom to greet); add name=…\n",
    });
  });
  it('run-time errors are one line and exit 1; the stack only for REAL_DEBUG=1', async () => {
    expect(await real(['greet', 'name=nobody'])).toEqual({
      code: 1,
      out: '',
      err: 'real: nobody is here\n',
    });
    expect((await real(['greet', 'name=bug'])).err).toBe(
      'real: x is undefined (unexpected; REAL_DEBUG=1 prints the stack)\n',
    );
    expect((await real(['greet', 'name=bug'], { REAL_DEBUG: '1' })).err).toContain('run-cli.test');
  });
  it('prints the resolved options', async () => {
    const words = ['sft', 'experiment_name=e', 'model.path=m', 'dataset.train_path=t'];
    const { out, code } = await real([...words, '--print-config']);
    expect(code).toBe(0);
    expect(out).toContain('  optimizer:\n    type: adam\n    lr: 0.00001\n');
  });
  it.each([80, 120, 160])('help fits %i columns and names every option', async (columns) => {
    const { out } = await real(['sft', '--help'], {}, columns);
    expect(Math.max(...out.split('\n').map((l) => l.length))).toBeLessThanOrEqual(columns);
    expect(out).toMatch(/model\.optimizer\.lr +number +0\.00001/);
    expect(out).toMatch(/dataset\.train_path +string +required/);
  });
});
