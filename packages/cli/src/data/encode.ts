/**
 * Text to tokens. A prompt and its answer are encoded as one text, as the reference does, so the prompt's part is the
 * longest common prefix with the prompt alone: where a tokenizer merges across the border, the merged token belongs
 * to the answer.
 */
import { DataError, type Tokenizer } from '@realhf/api';

export interface EncodedAnswer {
  /** (BOS ‖) prompt ‖ answer ‖ EOS, cut to the limit. */
  readonly tokens: Int32Array;
  /** Tokens of the prompt among them. */
  readonly promptLen: number;
  readonly cut: boolean;
}

/** Throws DataError if the tokenizer names no EOS: a model could not learn to stop. */
export function eosOf(tokenizer: Tokenizer): number {
  if (tokenizer.eosTokenId === null)
    throw new DataError(
      'the tokenizer has no EOS token, which ends every answer; name one in tokenizer_config.json',
    );
  return tokenizer.eosTokenId;
}

/** Tokens of a text, BOS in front where `addBos`. Throws DataError if the tokenizer names no BOS. */
export function encodeText(tokenizer: Tokenizer, text: string, addBos: boolean): Int32Array {
  const tokens = tokenizer.encode(text);
  if (!addBos) return tokens;
  if (tokenizer.bosTokenId === null)
    throw new DataError('dataset.add_bos=true, but the tokenizer has no BOS token; leave it out');
  const out = new Int32Array(tokens.length + 1);
  out[0] = tokenizer.bosTokenId;
  out.set(tokens, 1);
  return out;
}

function commonPrefix(a: Int32Array, b: Int32Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return i;
  return n;
}

/** `limit`: tokens at most, EOS included; the end is cut. */
export function encodeAnswer(
  tokenizer: Tokenizer,
  prompt: string,
  answer: string,
  limit: number,
  addBos: boolean,
): EncodedAnswer {
  const text = encodeText(tokenizer, prompt + answer, addBos);
  const whole = new Int32Array(text.length + 1);
  whole.set(text);
  whole[text.length] = eosOf(tokenizer);
  const tokens = whole.length > limit ? whole.slice(0, limit) : whole;
  const promptLen = Math.min(
    commonPrefix(encodeText(tokenizer, prompt, addBos), text),
    tokens.length,
  );
  return { tokens, promptLen, cut: whole.length > limit };
}

/** `tokens` filled up to `length` with PAD (EOS without one), at the end or the beginning. */
export function padTo(
  tokens: Int32Array,
  length: number,
  tokenizer: Tokenizer,
  side: 'left' | 'right',
): Int32Array {
  if (tokens.length >= length) return tokens;
  const out = new Int32Array(length).fill(tokenizer.padTokenId ?? eosOf(tokenizer));
  out.set(tokens, side === 'left' ? length - tokens.length : 0);
  return out;
}
