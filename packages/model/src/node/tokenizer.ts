/**
 * A folder's tokenizer on `@huggingface/tokenizers`. Ids of special tokens come from tokenizer_config.json, then
 * special_tokens_map.json, then config.json; without a pad token eos pads.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as hf from '@huggingface/tokenizers';
import { DataError, type Tokenizer } from '@realhf/api';
import { chatTemplate } from './chat-template.js';

/** What is used of the library: its declarations import without extensions, which NodeNext does not follow. */
interface HfTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(
    ids: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
  token_to_id(token: string): number | undefined;
  get_vocab(withAddedTokens: boolean): Map<string, number>;
  readonly decoder?: Decoder | null;
}
interface Decoder {
  text_decoder?: InstanceType<typeof TextDecoder>;
  readonly decoders?: readonly Decoder[];
}
const library = hf as unknown as { Tokenizer: new (json: Json, config: Json) => HfTokenizer };

type Json = Readonly<Record<string, unknown>>;

/** Reads tokenizer.json and, where present, the files beside it. Throws DataError naming the file. */
export function loadTokenizer(dir: string): Tokenizer {
  const path = join(dir, 'tokenizer.json');
  const json = readObject(path);
  if (!json)
    throw new DataError(
      `${dir} has no tokenizer.json; save the model's fast tokenizer there (AutoTokenizer.save_pretrained)`,
    );
  const tokenizerConfig = readObject(join(dir, 'tokenizer_config.json')) ?? {};
  const specialTokens = readObject(join(dir, 'special_tokens_map.json')) ?? {};
  const modelConfig = readObject(join(dir, 'config.json')) ?? {};
  let inner: HfTokenizer;
  try {
    inner = new library.Tokenizer(json, tokenizerConfig);
  } catch (cause) {
    throw new DataError(`${path} is not a tokenizer that can be used: ${String(cause)}`, { cause });
  }

  if (inner.decoder) keepByteOrderMarks(inner.decoder);
  const idOf = (kind: 'eos' | 'pad' | 'bos'): number | null => {
    for (const source of [tokenizerConfig, specialTokens]) {
      const text = tokenText(source[`${kind}_token`]);
      if (text === undefined) continue;
      const id = inner.token_to_id(text);
      if (id === undefined)
        throw new DataError(
          `${dir}: ${kind}_token '${text}' is not in tokenizer.json; correct one`,
        );
      return id;
    }
    const id = modelConfig[`${kind}_token_id`];
    const first: unknown = Array.isArray(id) ? id[0] : id;
    return typeof first === 'number' ? first : null;
  };
  const eosTokenId = idOf('eos');
  let vocabSize = 0;
  for (const id of inner.get_vocab(true).values()) vocabSize = Math.max(vocabSize, id + 1);

  const applyChatTemplate = chatTemplate(dir, tokenizerConfig, (kind) =>
    tokenText(tokenizerConfig[kind] ?? specialTokens[kind]),
  );
  return {
    vocabSize,
    eosTokenId,
    padTokenId: idOf('pad') ?? eosTokenId,
    bosTokenId: idOf('bos'),
    encode: (text) => Int32Array.from(inner.encode(text, { add_special_tokens: false }).ids),
    decode(tokens) {
      const ids = [...tokens];
      // The library refuses to decode nothing.
      if (ids.length === 0) return '';
      // Spaces before punctuation are the model's own: text comes back as it was.
      return inner.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
    },
    ...(applyChatTemplate ? { applyChatTemplate } : {}),
  };
}

/** The library's byte fallback drops U+FEFF where bytes begin with it; it is text like any other. */
function keepByteOrderMarks(decoder: Decoder): void {
  if (decoder.text_decoder?.ignoreBOM === false)
    decoder.text_decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for (const inner of decoder.decoders ?? []) keepByteOrderMarks(inner);
}

/** A token is a string or an object with `content`. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  if (typeof token === 'object' && token !== null && 'content' in token)
    return typeof token.content === 'string' ? token.content : undefined;
  return undefined;
}

/** undefined when the file is missing. */
function readObject(path: string): Json | undefined {
  if (!existsSync(path)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new DataError(`cannot read ${path} as JSON; copy it again`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new DataError(`${path} is not a JSON object; copy it again`);
  return value as Json;
}
