import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Tokenizer } from '@realhf/api';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterAll, describe, expect, it } from 'vitest';
import { openPromptAnswerDataset } from './prompt-answer.js';
import { openPromptDataset } from './prompts.js';
import { templateOf } from './prompt-text.js';

const dir = mkdtempSync(join(tmpdir(), 'real-formats-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});
let files = 0;
function file(bytes: string | Uint8Array, extension: string): string {
  const path = join(dir, `${files++}.${extension}`);
  writeFileSync(path, bytes);
  return path;
}
const lines = (records: readonly unknown[]) => records.map((r) => JSON.stringify(r)).join('\n');
/** Code units as tokens; decode gives the text back. */
const tokenizer: Tokenizer = {
  vocabSize: 0x10000,
  eosTokenId: 0,
  padTokenId: 0,
  bosTokenId: null,
  encode: (text) => Int32Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)),
  decode: (tokens) => String.fromCharCode(...tokens),
  applyChatTemplate: (messages, options) =>
    messages.map((m) => `<${m.role}>${m.content}`).join('') +
    (options?.addGenerationPrompt ? '<assistant>' : ''),
};
const texts = async (path: string, more: object = {}) => {
  const dataset = await openPromptDataset({ path, tokenizer, maxPromptLen: 99, ...more });
  return Array.from({ length: dataset.size }, (_, i) =>
    tokenizer.decode(dataset.item(i, 0).i32('packed_prompts')),
  );
};
const records = [{ prompt: 'one' }, { prompt: 'zwölf ☃' }, { prompt: 'three' }];

describe('files', () => {
  it('may be compressed', async () => {
    const want = records.map((r) => r.prompt);
    expect(await texts(file(gzipSync(lines(records)), 'jsonl.gz'))).toEqual(want);
    expect(await texts(file(gzipSync(JSON.stringify(records)), 'json.gz'))).toEqual(want);
    await expect(texts(file('no gzip', 'jsonl.gz'))).rejects.toThrow(/it is not a gzip file/);
    await expect(texts(join(dir, 'none.jsonl.gz'))).rejects.toThrow(/there is no such file/);
  });

  it('may be parquet, of several row groups', async () => {
    const n = 2500;
    const path = join(dir, 'table.parquet');
    parquetWriteFile({
      filename: path,
      rowGroupSize: 1000,
      columnData: [
        { name: 'id', data: Array.from({ length: n }, (_, i) => BigInt(i * 10)), type: 'INT64' },
        { name: 'question', data: Array.from({ length: n }, (_, i) => `q${i}`), type: 'STRING' },
      ],
    });
    const options = { path, tokenizer, maxPromptLen: 99, fields: { prompt: 'question' } };
    const dataset = await openPromptDataset(options);
    expect(dataset.size).toBe(n);
    for (const i of [0, 999, 1000, 2499]) {
      expect(dataset.prepared(i)).toMatchObject({ id: String(i * 10), text: `q${i}` });
    }
    await expect(openPromptDataset({ ...options, fields: {} })).rejects.toThrow(
      /table\.parquet\[0\]: record has no 'prompt'; its keys are id, question; .*dataset\.fields\.prompt/,
    );
    await expect(texts(file('no parquet', 'parquet'))).rejects.toThrow(/not a parquet file/);
  });

  it('are read where they lie when they are large', async () => {
    const n = 5000;
    const many = Array.from({ length: n }, (_, i) => ({ prompt: `${i} `.repeat(1 + (i % 7)) }));
    const path = file(lines(many), 'jsonl');
    expect(await texts(path, { checkedRecords: 10 })).toEqual(many.map((r) => r.prompt));
    // A record past the checked ones is complained of when its turn comes.
    const bad = file(lines([...many, { prompt: 3 }]), 'jsonl');
    const options = { path: bad, tokenizer, maxPromptLen: 99, checkedRecords: 10 };
    const dataset = await openPromptDataset(options);
    expect(dataset.notes[0]).toContain('5001 records, the first 1000 checked');
    expect(() => dataset.item(n, 0)).toThrow(`${bad}:5001: 'prompt' is a number`);
    const left = await openPromptDataset({ ...options, onError: 'skip' });
    expect([left.size, left.prepared(n - 1).text]).toEqual([n, many[n - 1]!.prompt]);
    const short = await openPromptDataset({ ...options, path, maxPromptLen: 20, skipLong: true });
    const want = many.filter((r) => r.prompt.length <= 20);
    expect(short.items().map((s) => tokenizer.decode(s.i32('packed_prompts')))).toEqual(
      want.map((r) => r.prompt),
    );
  });
});

describe('records', () => {
  it('have their own names of fields', async () => {
    const path = file(lines([{ q: 'a', a: 'b', key: 'x' }]), 'jsonl');
    const dataset = await openPromptAnswerDataset({
      path,
      tokenizer,
      maxSeqlen: 9,
      fields: { id: 'key', prompt: 'q', answer: 'a' },
    });
    expect(dataset.items()[0]!.ids).toEqual(['x']);
    expect([...dataset.items()[0]!.i32('packed_input_ids')]).toEqual([97, 98, 0]);
  });

  it('that are bad end it, or are left out and named', async () => {
    const path = file(`${lines(records)}\n{"prompt":\n{"prompt": 7}\n[]`, 'jsonl');
    await expect(texts(path)).rejects.toThrow(`${path}:4: not valid JSON`);
    const options = { path, tokenizer, maxPromptLen: 99, onError: 'skip' as const };
    const dataset = await openPromptDataset(options);
    expect(dataset.size).toBe(3);
    expect(dataset.notes).toEqual([
      `${path}: skipped 3 bad records of 6: ${path}:4: not valid JSON: {"prompt":; ${path}:5: 'prompt' is a number, expected a string; ${path}:6: expected an object, found a list`,
    ]);
    await expect(
      openPromptDataset({ ...options, path: file('{"prompt":1}', 'jsonl') }),
    ).rejects.toThrow(/none of its 1 records is left; the first bad one: .*:1: 'prompt'/);
  });

  it('must have ids of their own', async () => {
    const many = Array.from({ length: 3000 }, (_, i) => ({ id: `k${i}`, prompt: 'p' }));
    expect(await texts(file(lines(many), 'jsonl'))).toHaveLength(3000);
    const path = file(lines([...many, { id: 'k1234', prompt: 'p' }]), 'jsonl');
    await expect(texts(path)).rejects.toThrow(
      `${path}:3001: id 'k1234' is taken by ${path}:1235; ids must be unique`,
    );
  });

  it('are written as conversations', async () => {
    const template = templateOf(tokenizer, true);
    const conversation = [
      { role: 'system', content: 's' },
      { role: 'user', content: 'u' },
    ];
    const path = file(lines([{ prompt: 'hi' }, { messages: conversation }]), 'jsonl');
    expect(await texts(path, { template })).toEqual([
      '<user>hi<assistant>',
      '<system>s<user>u<assistant>',
    ]);
    const bad = file(lines([{ messages: [{ role: 'user' }] }]), 'jsonl');
    await expect(texts(bad, { template })).rejects.toThrow(
      `${bad}:1: 'messages[0]' is a object, expected {role, content}`,
    );
    const plain = { ...tokenizer };
    delete (plain as { applyChatTemplate?: unknown }).applyChatTemplate;
    expect(() => templateOf(plain, true)).toThrow(/the model has no chat template/);
    expect(templateOf(plain, false)).toBeUndefined();
  });
});
