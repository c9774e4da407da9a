/** Tiny models and data on disk: a byte-level tokenizer without merges, a llama of 32 hidden units, JSONL files. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll } from 'vitest';

import { letterTokenizer } from './letter-tokenizer.js';

/** A temporary folder of a test file, removed after it. */
export function useFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'real-e2e-'));
  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

/** Letters a–z, space (Ġ) and full stop, then the end of text and padding. */
const letters = Array.from('abcdefghijklmnopqrstuvwxyzĠ.');
export const vocabSize = letters.length + 2;
export const eosTokenId = letters.length;

/** tokenizer.json: one token per character of `letters`. */
export const tokenizerJson = letterTokenizer(letters, 0, ['<|endoftext|>', '<|pad|>'], eosTokenId);

export const configJson = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  head_dim: 16,
  hidden_act: 'silu',
  max_position_embeddings: 64,
  vocab_size: vocabSize,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
  bos_token_id: eosTokenId,
  eos_token_id: eosTokenId,
  pad_token_id: eosTokenId + 1,
  initializer_range: 0.1,
};

/** A folder with config.json and a tokenizer, without weights: a model to start from scratch. */
export function writeModelDir(
  dir: string,
  change: { config?: Record<string, unknown>; tokenizer?: unknown } = {},
): string {
  mkdirSync(dir, { recursive: true });
  const json = (name: string, value: unknown) => {
    writeFileSync(join(dir, name), JSON.stringify(value));
  };
  json('config.json', { ...configJson, ...change.config });
  if (change.tokenizer !== null) json('tokenizer.json', change.tokenizer ?? tokenizerJson);
  json('tokenizer_config.json', { eos_token: '<|endoftext|>', pad_token: '<|pad|>' });
  return dir;
}

/** Writes records as JSONL, strings as they are. */
export function writeLines(path: string, records: readonly unknown[]): string {
  writeFileSync(
    path,
    records.map((r) => `${typeof r === 'string' ? r : JSON.stringify(r)}\n`).join(''),
  );
  return path;
}

const words = ['a cat', 'the dog', 'some bird', 'no fish', 'one horse'];
const ends = [' sleeps.', ' eats a lot.', ' runs.', ' is here again.', ' sings.', ' waits.'];

/** `prompt` and `answer`, the n-th always the same. */
export function sftRecords(n: number): { id: string; prompt: string; answer: string }[] {
  return Array.from({ length: n }, (_, i) => ({
    id: `r${i}`,
    prompt: words[i % words.length]!,
    answer: ends[i % ends.length]!,
  }));
}
