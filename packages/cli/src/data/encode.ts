/**
 * Text to tokens. A prompt and its answer are encoded as one text, as the reference does, so the prompt's part is the
 * longest common prefix with the prompt alone: where a tokenizer merges across the border, the merged token belongs
 * to the answer.
 */
import { DataError, type Tokenizer } from '@realhf/api';

export interface EncodedAnswer {
  /** prompt ‖ answer ‖ EOS, cut to the limit. */
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
): EncodedAnswer {
  const text = tokenizer.encode(prompt + answer);
  const whole = new Int32Array(text.length + 1);
  whole.set(text);
  whole[text.length] = eosOf(tokenizer);
  const tokens = whole.length > limit ? whole.slice(0, limit) : whole;
  const promptLen = Math.min(commonPrefix(tokenizer.encode(prompt), text), tokens.length);
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
