import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { sftRecords, useFolder, writeLines, writeModelDir } from '../e2e/tiny.js';
import { genSchema } from '../options/schemas/gen.js';
import { runGen } from './gen.js';
import { configOf, testContext, useDevice } from './test-run.js';

const dir = useFolder();
const device = useDevice();
const records = sftRecords(11).map(({ id, prompt }) => ({ id, prompt }));
const words = (trial: string, ...more: string[]) => [
  `fileroot=${join(dir, 'runs')}`,
  'experiment_name=gen',
  `trial_name=${trial}`,
  'model.init_from_scratch=true',
  `model.config=${writeModelDir(join(dir, 'lm'))}`,
  `dataset.path=${writeLines(join(dir, 'prompts.jsonl'), records)}`,
  'dataset.train_bs_n_seqs=4',
  'gen.max_new_tokens=6',
  'gen.min_new_tokens=1',
  ...more,
];
const run = (trial: string, ...more: string[]) =>
  runGen(configOf(genSchema, words(trial, ...more)), testContext(), device());
const output = (trial: string, name = 'output.jsonl') => join(dir, 'runs', 'gen', trial, name);
const text = (trial: string) => readFileSync(output(trial), 'utf8');

describe('real gen', () => {
  it('answers every prompt once, in order, whatever the batch', async () => {
    expect((await run('whole')).answers).toBe(11);
    const lines = text('whole')
      .split('\n')
      .slice(0, -1)
      .map((l) => JSON.parse(l) as Record<string, unknown>);
    expect(lines.map(({ id, prompt }) => ({ id, prompt }))).toEqual(records);
    for (const l of lines) {
      expect(l.seq).toBe(`${String(l.prompt)}${String(l.answer)}`);
      expect(l.n_tokens).toBeGreaterThan(0);
    }
    expect(new Set(lines.map((l) => l.answer)).size).toBeGreaterThan(5);
    await run('other-batch', 'dataset.train_bs_n_seqs=5', 'allocation.n_mbs=2');
    expect(text('other-batch')).toBe(text('whole'));
    await run('other-seed', 'seed=2');
    expect(text('other-seed')).not.toBe(text('whole'));
  });

  it('goes on after the last whole line, and a finished run writes nothing more', async () => {
    await run('resumed');
    const bytes = Buffer.from(text('resumed'));
    for (const cut of [3, 200, bytes.length - 1, bytes.length]) {
      truncateSync(output('resumed'), bytes.length - cut);
      expect((await run('resumed', 'recover_mode=auto')).answers).toBe(11);
      expect(text('resumed')).toBe(bytes.toString());
    }
    await run('resumed', 'recover_mode=resume');
    expect(text('resumed')).toBe(bytes.toString());
    await expect(run('resumed')).rejects.toThrow('exists already');
    await expect(run('never', 'recover_mode=resume')).rejects.toThrow(/found no .*output\.jsonl/);
  });

  it('stops at a signal after the batch and says how to go on', async () => {
    const stop = new AbortController();
    const context = testContext(stop.signal, (t) => {
      if (t.startsWith('step 1/3')) stop.abort();
    });
    const result = await runGen(configOf(genSchema, words('stopped')), context, device());
    expect(result).toMatchObject({ answers: 4, interrupted: true });
    expect(context.printed()).toContain(
      'stopped after 4 of 11 answers; go on with recover_mode=auto trial_name=stopped\n',
    );
    await run('stopped', 'recover_mode=auto');
    expect(text('stopped')).toBe(text('whole'));
  });

  it('refuses to go on with another dataset', async () => {
    await run('changed');
    writeFileSync(output('changed'), text('changed').replace('"id":"r1"', '"id":"x"'));
    await expect(run('changed', 'recover_mode=auto')).rejects.toThrow(
      /output\.jsonl:2 answers id 'x', but prompt 2 of the dataset is 'r1'/,
    );
  });

  it('writes where it is told, or only shows', async () => {
    await run('named', 'output_file=answers.jsonl');
    expect(existsSync(output('named', 'answers.jsonl'))).toBe(true);
    const context = testContext();
    await runGen(configOf(genSchema, words('shown', 'output_file=null')), context, device());
    expect(context.printed()).toContain('{"id":"r0","prompt":"a cat","answer":');
    expect(readdirSync(join(dir, 'runs', 'gen', 'shown'))).toEqual(['config.yaml']);
    for (const bad of ['out.txt', '../out.jsonl', 'metrics.jsonl'])
      expect(() => configOf(genSchema, words('bad', `output_file=${bad}`))).toThrow(
        /option 'output_file' .*plain file name that ends in \.jsonl/,
      );
  });
});
