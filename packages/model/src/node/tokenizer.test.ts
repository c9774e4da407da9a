import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError } from '@realhf/api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadTokenizer } from './tokenizer.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'realhf-tokenizer-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

const write = (name: string, value: unknown) => {
  writeFileSync(join(dir, name), typeof value === 'string' ? value : JSON.stringify(value));
};

/** A byte-level BPE of a few letters, one merge and two special tokens; it adds <s> in front. */
function tokenizerJson() {
  const special = (id: number, content: string) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(0, '<s>'), special(9, '</s>')],
    normalizer: null,
    pre_tokenizer: {
      type: 'ByteLevel',
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: { a: 1, b: 2, c: 3, Ġ: 4, ab: 5, Ġc: 6 },
      merges: ['a b', 'Ġ c'],
    },
  };
}

describe('loadTokenizer', () => {
  it('encodes without special tokens and decodes without them', () => {
    write('tokenizer.json', tokenizerJson());
    write('tokenizer_config.json', { eos_token: { content: '</s>' }, bos_token: '<s>' });
    const t = loadTokenizer(dir);
    expect(t.encode('abc c')).toEqual(new Int32Array([5, 3, 6]));
    expect(t.decode(new Int32Array([0, 5, 3, 6, 9]))).toBe('abc c');
    expect(t.vocabSize).toBe(10);
    expect([t.eosTokenId, t.padTokenId, t.bosTokenId]).toEqual([9, 9, 0]);
  });

  it('finds ids in special_tokens_map.json and config.json', () => {
    write('tokenizer.json', tokenizerJson());
    write('special_tokens_map.json', { pad_token: '<s>' });
    write('config.json', { eos_token_id: [9, 3], bos_token_id: null });
    const t = loadTokenizer(dir);
    expect([t.eosTokenId, t.padTokenId, t.bosTokenId]).toEqual([9, 0, null]);
  });

  it('names the file that is missing or wrong', () => {
    expect(() => loadTokenizer(dir)).toThrow(/no tokenizer\.json; save/);
    write('tokenizer.json', '{');
    expect(() => loadTokenizer(dir)).toThrow(/cannot read .*tokenizer\.json as JSON/);
    write('tokenizer.json', '[]');
    expect(() => loadTokenizer(dir)).toThrow(/not a JSON object/);
    write('tokenizer.json', { model: { type: 'Nope' } });
    expect(() => loadTokenizer(dir)).toThrow(DataError);
    write('tokenizer.json', tokenizerJson());
    write('tokenizer_config.json', { eos_token: '<eos>' });
    expect(() => loadTokenizer(dir)).toThrow(/eos_token '<eos>' is not in tokenizer\.json/);
  });
});
