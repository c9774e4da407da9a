import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SequenceSample, Tokenizer } from '@realhf/api';
import { ListDataSource, type DataSource } from '@realhf/dataflow';
import { afterAll, describe, expect, it } from 'vitest';
import { checkBatchSize, evalBatches } from './batches.js';
import { openPromptAnswerDataset, type PromptAnswerLoad } from './prompt-answer.js';
import { openPromptDataset, type PromptLoad } from './prompts.js';
import { choose, uniform } from './random.js';
import { RecordFile } from './records/record-file.js';
import { openRwPairDataset } from './rw-pairs.js';

const dir = mkdtempSync(join(tmpdir(), 'real-data-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});
let files = 0;
function file(text: string, extension = 'jsonl'): string {
  const path = join(dir, `${files++}.${extension}`);
  writeFileSync(path, text);
  return path;
}
const jsonl = (...records: unknown[]) => file(records.map((r) => JSON.stringify(r)).join('\n'));

/** One token per character, but `ab` is one token: it merges across borders. EOS 0, PAD 1. */
const tokenizer: Tokenizer = {
  vocabSize: 300,
  eosTokenId: 0,
  padTokenId: 1,
  bosTokenId: null,
  encode: (text) =>
    Int32Array.from(text.match(/ab|./g) ?? [], (t) => (t === 'ab' ? 256 : t.charCodeAt(0))),
  decode: () => '',
};
const loadPromptAnswer = async (options: PromptAnswerLoad) => {
  const dataset = await openPromptAnswerDataset(options);
  return { items: dataset.items(), notes: dataset.notes };
};
const loadPrompts = async (options: PromptLoad) => {
  const dataset = await openPromptDataset(options);
  return { items: dataset.items(), notes: dataset.notes };
};
const readRecords = async (path: string) => {
  const opened = await RecordFile.open(path);
  try {
    return Array.from({ length: opened.size }, (_, i) => opened.get(i));
  } finally {
    opened.close();
  }
};
const codes = (text: string) => [...tokenizer.encode(text)];

describe('records', () => {
  it('reads JSONL with blank lines and a BOM, and JSON arrays', async () => {
    const records = await readRecords(file('\uFEFF{"id":7,"a":1}\n\n{"a":2}\r\n'));
    expect(records.map((r) => r.id)).toEqual(['7', '#1']);
    expect(records[1]!.where).toMatch(/:3$/);
    expect((await readRecords(file(' [{"a":1},{"a":2}]', 'json')))[1]!.where).toMatch(/json\[1\]$/);
  });
  it.each([
    ['', 'is empty'],
    ['{"a":1}\n{"a":', ':2: not valid JSON: {"a":'],
    ['{"a":1}\n[1]', ':2: expected an object, found a list'],
    ['{"id":true}', ":1: 'id' is a boolean"],
  ])('complains of %j', async (text, message) => {
    await expect(readRecords(file(text))).rejects.toThrow(message);
  });
  it('complains of a missing file and a directory', async () => {
    await expect(readRecords(join(dir, 'none.jsonl'))).rejects.toThrow('there is no such file');
    await expect(readRecords(dir)).rejects.toThrow('it is a directory');
  });
});

describe('prompt_answer', () => {
  const load = (path: string, maxSeqlen = 100, padToMaxLength = false) =>
    loadPromptAnswer({ path, tokenizer, maxSeqlen, padToMaxLength });
  it('appends EOS and masks the prompt', async () => {
    const [item] = (await load(jsonl({ id: 'q', prompt: 'xy', answer: 'z' }))).items;
    expect([...item!.i32('packed_input_ids')]).toEqual([...codes('xyz'), 0]);
    expect([...item!.u8('prompt_mask')]).toEqual([1, 1, 0, 0]);
  });
  it('gives a token that merges across the border to the answer', async () => {
    const [item] = (await load(jsonl({ prompt: 'xa', answer: 'bc' }))).items;
    expect([...item!.i32('packed_input_ids')]).toEqual([120, 256, 99, 0]);
    expect([...item!.u8('prompt_mask')]).toEqual([1, 0, 0, 0]);
  });
  it('cuts, notes it, and refuses a file without any answer left', async () => {
    const path = jsonl({ prompt: 'xy', answer: 'zzzz' }, { prompt: 'xyxyx', answer: 'z' });
    const { items, notes } = await load(path, 4);
    expect(items.map((i) => i.lengths('packed_input_ids'))).toEqual([[4], [4]]);
    expect([...items[1]!.u8('prompt_mask')]).toEqual([1, 1, 1, 1]);
    expect(notes).toEqual([
      `${path}: 2 of 2 sequences were cut to 4 tokens`,
      `${path}: 1 of 2 records have no answer token left to learn`,
    ]);
    await expect(load(path, 2)).rejects.toThrow('no answer token is left');
  });
  it('pads for benchmarks, the padding masked', async () => {
    const [item] = (await load(jsonl({ prompt: 'x', answer: 'y' }), 5, true)).items;
    expect([...item!.i32('packed_input_ids')]).toEqual([120, 121, 0, 1, 1]);
    expect([...item!.u8('prompt_mask')]).toEqual([1, 0, 0, 1, 1]);
  });
  it.each([
    [{ answer: 'a' }, ":2: record has no 'prompt'; its keys are answer"],
    [{ prompt: 'a' }, ":2: record has no 'answer'"],
    [{ prompt: 3, answer: 'a' }, ":2: 'prompt' is a number, expected a string"],
    [{ prompt: '', answer: '' }, ':2: 1 token in prompt and answer together'],
  ])('complains of %j', async (record, message) => {
    await expect(load(jsonl({ prompt: 'x', answer: 'y' }, record))).rejects.toThrow(message);
  });
  it('puts BOS in front when asked', async () => {
    const path = jsonl({ prompt: 'x', answer: 'y' });
    const withBos = { ...tokenizer, bosTokenId: 2 };
    const { items } = await loadPromptAnswer({
      path,
      tokenizer: withBos,
      maxSeqlen: 9,
      addBos: true,
    });
    const [item] = items;
    expect([...item!.i32('packed_input_ids')]).toEqual([2, 120, 121, 0]);
    expect([...item!.u8('prompt_mask')]).toEqual([1, 1, 0, 0]);
    const prompts = await loadPrompts({ path, tokenizer: withBos, maxPromptLen: 2, addBos: true });
    expect([...prompts.items[0]!.i32('packed_prompts')]).toEqual([2, 120]);
    await expect(loadPrompts({ path, tokenizer, maxPromptLen: 2, addBos: true })).rejects.toThrow(
      'no BOS',
    );
  });
  it('needs an EOS token', async () => {
    const path = jsonl({ prompt: 'x', answer: 'y' });
    const bare = { ...tokenizer, eosTokenId: null };
    await expect(loadPromptAnswer({ path, tokenizer: bare, maxSeqlen: 9 })).rejects.toThrow(
      'no EOS token',
    );
  });
});

describe('prompt', () => {
  const path = jsonl({ prompt: 'xyz' }, { prompt: 'x' });
  it('encodes without EOS', async () => {
    const { items } = await loadPrompts({ path, tokenizer, maxPromptLen: 3 });
    expect(items.map((i) => [...i.i32('packed_prompts')])).toEqual([[120, 121, 122], [120]]);
  });
  it('fails on a long prompt, or leaves it out', async () => {
    await expect(loadPrompts({ path, tokenizer, maxPromptLen: 2 })).rejects.toThrow(
      `${path}:1: the prompt has 3 tokens, dataset.max_prompt_len is 2`,
    );
    const { items, notes } = await loadPrompts({
      path,
      tokenizer,
      maxPromptLen: 2,
      skipLong: true,
    });
    expect(items).toHaveLength(1);
    expect(notes[0]).toContain('left out 1 of 2');
    await expect(
      loadPrompts({ path: jsonl({ prompt: 'xy' }), tokenizer, maxPromptLen: 1, skipLong: true }),
    ).rejects.toThrow('none of its 1 records is left');
  });
  it('pads on the left and refuses an empty prompt', async () => {
    const { items } = await loadPrompts({ path, tokenizer, maxPromptLen: 4, padToMaxLength: true });
    expect([...items[1]!.i32('packed_prompts')]).toEqual([1, 1, 1, 120]);
    await expect(
      loadPrompts({ path: jsonl({ prompt: '' }), tokenizer, maxPromptLen: 4 }),
    ).rejects.toThrow('has no tokens');
  });
});

describe('rw_pair', () => {
  const record = (n: number) => ({
    prompt: 'q',
    pos_answers: Array.from({ length: n }, (_, i) => `p${i}`),
    neg_answers: Array.from({ length: n }, (_, i) => `n${i}n`),
  });
  const load = (path: string, maxPairsPerPrompt = 2) =>
    openRwPairDataset({ path, tokenizer, maxSeqlen: 10, maxPairsPerPrompt, seed: 1 });
  it('packs pos, neg, pos, neg', async () => {
    const item = (await load(jsonl(record(2)))).item(0, 0);
    expect(item.seqlens.packed_input_ids).toEqual([[4, 5, 4, 5]]);
    expect([...item.i32('packed_input_ids')]).toEqual(
      ['qp0', 'qn0n', 'qp1', 'qn1n'].flatMap((t) => [...codes(t), 0]),
    );
    expect([...item.i32('prompt_lens')]).toEqual([1]);
  });
  it('draws other pairs each epoch, the same after a restore', async () => {
    const pairs = await load(jsonl(record(6), record(6), record(1), record(6)));
    const whole = pairs.source(3);
    const read = (s: DataSource) => {
      const b = s.next(2) as SequenceSample | undefined;
      return b && { ids: b.ids, tokens: [...b.i32('packed_input_ids')] };
    };
    const all = Array.from({ length: 9 }, () => read(whole));
    expect(all.map((b) => b !== undefined)).toEqual([
      true,
      true,
      false,
      true,
      true,
      false,
      true,
      true,
      false,
    ]);
    expect(new Set(all.slice(0, 2).flatMap((b) => b!.ids)).size).toBe(4);
    const first = pairs.source(3);
    for (let i = 0; i < 4; i++) read(first);
    const second = pairs.source(3);
    second.restore(JSON.parse(JSON.stringify(first.state())));
    expect(Array.from({ length: 5 }, () => read(second))).toEqual(all.slice(4));
    const draws = Array.from({ length: 8 }, (_, e) =>
      pairs.item(0, e).i32('packed_input_ids').join(),
    );
    expect(new Set(draws).size).toBeGreaterThan(3);
  });
  it.each([
    [{ prompt: 'q', pos_answers: ['a'] }, "record has no 'neg_answers'"],
    [{ prompt: 'q', pos_answers: ['a'], neg_answers: [] }, "'neg_answers' is empty"],
    [
      { prompt: 'q', pos_answers: 'a', neg_answers: ['a'] },
      "'pos_answers' is a string, expected a list",
    ],
    [{ prompt: 'q', pos_answers: [1], neg_answers: ['a'] }, "'pos_answers[0]' is a number"],
    [
      { prompt: 'q', pos_answers: ['a', 'b'], neg_answers: ['a'] },
      '2 pos_answers and 1 neg_answers',
    ],
  ])('complains of %j', async (bad, message) => {
    await expect(load(jsonl(bad))).rejects.toThrow(message);
  });
});

describe('batches', () => {
  it('evaluation takes every item; training needs a full batch', async () => {
    const path = jsonl({ prompt: 'x' }, { prompt: 'y' }, { prompt: 'z' });
    const { items } = await loadPrompts({ path, tokenizer, maxPromptLen: 3 });
    expect(evalBatches(items, 2).map((b) => b.ids.length)).toEqual([2, 1]);
    expect(() => {
      checkBatchSize(3, 4, 'dataset.train_bs_n_seqs');
    }).toThrow('lower it to at most 3');
    expect(new ListDataSource(items, { seed: 1 }).next(3)!.ids).toHaveLength(3);
  });
  it('choose is uniform enough and in range', () => {
    const counts = new Array<number>(5).fill(0);
    for (let e = 0; e < 5000; e++) for (const i of choose(5, 2, [1, e, 0])) counts[i]!++;
    for (const c of counts) expect(Math.abs(c - 2000)).toBeLessThan(150);
    expect(choose(3, 5, [1])).toEqual([0, 1, 2]);
    expect(uniform([1, 2], 3)).not.toBe(uniform([2, 1], 3));
  });
});
