/** Text goes in and comes out byte for byte, in every Unicode plane, by byte-level BPE and by SentencePiece-like BPE. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError, type Tokenizer } from '@realhf/api';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from './tokenizer.js';

const root = mkdtempSync(join(tmpdir(), 'realhf-tokenizer-text-'));
afterAll(() => {
  rmSync(root, { recursive: true });
});

/** Printable stand-ins of the 256 bytes, as GPT-2 chose them: a byte that prints is itself, others from U+0100 on. */
function byteLetters(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => {
    const prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    return String.fromCodePoint(prints ? b : next++);
  });
}

function byteLevel(): object {
  const letters = byteLetters();
  const vocab = Object.fromEntries([...letters, 'th', 'the', 'Ġthe'].map((t, i) => [t, i]));
  return {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges: ['t h', 'th e', 'Ġ the'], byte_fallback: false },
  };
}

/** As llama 2's: spaces are ▁, characters without a token become bytes. */
function sentencePiece(): object {
  const bytes = Array.from(
    { length: 256 },
    (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`,
  );
  const tokens = ['<unk>', ...bytes, '▁', 'a', 'b', 't', 'h', 'e', 'th', 'the', '▁the', 'ü', '☃'];
  return {
    version: '1.0',
    added_tokens: [{ id: 0, content: '<unk>', special: true, normalized: false }],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(tokens.map((t, i) => [t, i])),
      merges: ['t h', 'th e', '▁ the'],
      byte_fallback: true,
      unk_token: '<unk>',
      fuse_unk: true,
    },
  };
}

function load(name: string, json: object, config: object = {}): Tokenizer {
  const dir = mkdtempSync(join(root, `${name}-`));
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(json));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify(config));
  return loadTokenizer(dir);
}

const planes = Array.from({ length: 17 }, (_, p) => p);
/** Scalar values of a plane (no surrogates), mixed with what tokenizers treat apart. */
const textOf = (plane: number) =>
  fc
    .array(
      fc.oneof(
        {
          weight: 4,
          arbitrary: fc.integer({ min: plane * 0x10000, max: plane * 0x10000 + 0xffff }),
        },
        {
          weight: 1,
          arbitrary: fc.constantFrom(
            ...' \n\t.the▁\u00a0\u200b\ufeff'.split('').map((c) => c.codePointAt(0)!),
          ),
        },
      ),
      { maxLength: 30 },
    )
    .map((points) =>
      String.fromCodePoint(
        ...points.map((p) => (p >= 0xd800 && p <= 0xdfff ? p - 0xd800 + 33 : p)),
      ),
    );

describe.each([
  ['byte-level', byteLevel(), (text: string) => text],
  // ▁ stands for a space there: the one character that can't come back, in the original too.
  ['SentencePiece-like', sentencePiece(), (text: string) => text.replaceAll('▁', '_')],
] as const)('%s', (name, json, writable) => {
  // The setting of old configs must not touch the text either.
  const tokenizer = load(name, json, { clean_up_tokenization_spaces: true });

  it.each(planes)('text of plane %i comes back', (plane) => {
    fc.assert(
      fc.property(textOf(plane).map(writable), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { numRuns: 60 },
    );
  });

  it('spaces before punctuation stay', () => {
    const text = '  he said : " do n\'t " , \'s ! ? the  the . ';
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });
});

describe('chat templates', () => {
  const template =
    "{{ bos_token }}{% for m in messages %}{% if m['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('no role ' + m['role']) }}{% endif %}<|{{ m['role'] }}|>{{ m['content'] | trim }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  const messages = [
    { role: 'system', content: ' be kind ' },
    { role: 'user', content: 'hi' },
  ];

  it('come from tokenizer_config.json, a list of named ones, or a file of their own', () => {
    const t = load('chat', byteLevel(), { chat_template: template });
    expect(t.applyChatTemplate?.(messages)).toBe('<|system|>be kind<|user|>hi');
    expect(t.applyChatTemplate?.(messages, { addGenerationPrompt: true })).toMatch(
      /<\|assistant\|>$/,
    );
    const named = [
      { name: 'tool_use', template: 'x' },
      { name: 'default', template },
    ];
    expect(load('chat', byteLevel(), { chat_template: named }).applyChatTemplate?.(messages)).toBe(
      '<|system|>be kind<|user|>hi',
    );
    const dir = mkdtempSync(join(root, 'jinja-'));
    writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(byteLevel()));
    writeFileSync(join(dir, 'tokenizer_config.json'), '{"bos_token":"the"}');
    writeFileSync(join(dir, 'chat_template.jinja'), template);
    expect(loadTokenizer(dir).applyChatTemplate?.(messages)).toBe('the<|system|>be kind<|user|>hi');
  });

  it('are absent, invalid, or refuse', () => {
    expect(load('chat', byteLevel()).applyChatTemplate).toBeUndefined();
    expect(() => load('chat', byteLevel(), { chat_template: '{% for %}' })).toThrow(
      /chat template is not valid Jinja/,
    );
    const t = load('chat', byteLevel(), { chat_template: template });
    expect(() => t.applyChatTemplate?.([{ role: 'tool', content: '' }])).toThrow(DataError);
    expect(() => t.applyChatTemplate?.([{ role: 'tool', content: '' }])).toThrow(/no role tool/);
  });
});
