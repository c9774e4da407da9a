/** The committed quickstart data: checksums, disjoint splits, and lengths that the preset relies on. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadTokenizer } from '@realhf/model/node';
import { describe, expect, it } from 'vitest';

const asset = (name: string): string =>
  readFileSync(new URL(`../../assets/quickstart/${name}`, import.meta.url), 'utf8');

interface Line {
  readonly id: string;
  readonly prompt: string;
  readonly answer?: string;
  readonly pos_answers?: readonly string[];
  readonly neg_answers?: readonly string[];
}

const lines = (name: string): Line[] =>
  asset(`${name}.jsonl`)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

const NAMES = [
  'sft-train',
  'sft-valid',
  'rw-train',
  'rw-valid',
  'prompts-train',
  'prompts-heldout',
];

const tokenizer = loadTokenizer(fileURLToPath(new URL('../../assets/quickstart', import.meta.url)));
const encode = (text: string): number[] => [...tokenizer.encode(text)];

describe('quickstart assets', () => {
  it('match SHA256SUMS', () => {
    const sums = asset('SHA256SUMS').trim().split('\n');
    expect(sums).toHaveLength(9);
    for (const line of sums) {
      const [sum, name] = line.split('  ');
      expect(createHash('sha256').update(asset(name!)).digest('hex'), name).toBe(sum);
    }
  });

  it('have unique ids, and no held-out prompt opens a training text', () => {
    const ids = NAMES.flatMap((name) => lines(name).map((r) => r.id));
    expect(new Set(ids).size).toBe(ids.length);
    const heldout = lines('prompts-heldout').map((r) => r.prompt.toLowerCase());
    expect(new Set(heldout).size).toBe(256);
    for (const name of ['sft-train', 'rw-train', 'prompts-train', 'sft-valid', 'rw-valid']) {
      for (const r of lines(name)) {
        const text = (r.prompt + (r.answer ?? '')).toLowerCase();
        const hit = heldout.find((p) => text === p || text.startsWith(`${p} `));
        expect(hit, `${name} ${r.id}`).toBeUndefined();
      }
    }
  });

  it('fit: prompts of at most 10 tokens, sequences of at most 32 with the end token', () => {
    for (const name of NAMES) {
      for (const r of lines(name)) {
        const prompt = encode(r.prompt);
        expect(prompt.length, r.id).toBeLessThanOrEqual(10);
        const answers = [r.answer ?? '', ...(r.pos_answers ?? []), ...(r.neg_answers ?? [])];
        for (const answer of answers.filter((a) => a !== '')) {
          const all = encode(r.prompt + answer);
          expect(all.slice(0, prompt.length), r.id).toEqual(prompt);
          expect(all.length, r.id).toBeLessThanOrEqual(31);
        }
        expect(r.pos_answers?.length, r.id).toBe(r.neg_answers?.length);
      }
    }
  });

  it('have a tokenizer of 2304 entries that gives back lower-cased text', () => {
    expect(tokenizer.vocabSize).toBe(2304);
    expect([tokenizer.eosTokenId, tokenizer.padTokenId]).toEqual([0, 1]);
    expect(tokenizer.decode(encode('Peace, and 3 naïve cats!'))).toBe(' peace, and 3 naïve cats!');
    expect(encode('good<|endoftext|>').at(-1)).toBe(0);
  });
});
