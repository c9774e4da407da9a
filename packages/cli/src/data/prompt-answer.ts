/** `prompt_answer` dataset (reference: D10): records with `prompt` and `answer` to `packed_input_ids` and `prompt_mask`. */
import { DataError, SequenceSample, type Tokenizer } from '@realhf/api';
import { encodeAnswer, padTo } from './encode.js';
import { checkLimits, type ModelLimits } from './limits.js';
import { readRecords, stringField } from './read-records.js';

export interface Loaded {
  /** One item each, in file order. */
  readonly items: readonly SequenceSample[];
  /** Lines worth telling the user: what was cut or left out. */
  readonly notes: readonly string[];
}

export interface PromptAnswerLoad {
  readonly path: string;
  readonly tokenizer: Tokenizer;
  /** Tokens at most, EOS included. */
  readonly maxSeqlen: number;
  /** BOS before every sequence. Default false. */
  readonly addBos?: boolean;
  readonly padToMaxLength?: boolean;
  readonly limits?: ModelLimits | undefined;
}

/**
 * Reads and encodes a whole file. `prompt_mask` (u8, length L) is 1 on the prompt's tokens, and on padding.
 * Throws DataError naming file and line; also when no record has an answer token within maxSeqlen.
 */
export function loadPromptAnswer(options: PromptAnswerLoad): Loaded {
  const { path, tokenizer, maxSeqlen } = options;
  let cut = 0;
  let unanswered = 0;
  const items = readRecords(path).map((record) => {
    const encoded = encodeAnswer(
      tokenizer,
      stringField(record, 'prompt'),
      stringField(record, 'answer'),
      maxSeqlen,
      options.addBos ?? false,
    );
    if (encoded.cut) cut++;
    const n = encoded.tokens.length;
    if (encoded.promptLen === n) unanswered++;
    if (n < 2)
      throw new DataError(
        `${record.where}: ${n} token in prompt and answer together, training needs at least 2`,
      );
    const tokens = options.padToMaxLength
      ? padTo(encoded.tokens, maxSeqlen, tokenizer, 'right')
      : encoded.tokens;
    checkLimits(record, tokens, options.limits);
    const mask = new Uint8Array(tokens.length);
    mask.fill(1, 0, encoded.promptLen).fill(1, n);
    return SequenceSample.fromDefault({
      ids: [record.id],
      seqlens: [tokens.length],
      data: { packed_input_ids: tokens, prompt_mask: mask },
    });
  });
  if (unanswered === items.length)
    throw new DataError(
      `dataset '${path}': every prompt fills max_seqlen=${maxSeqlen}, no answer token is left; raise it`,
    );
  const notes: string[] = [];
  if (cut > 0)
    notes.push(`${path}: ${cut} of ${items.length} sequences were cut to ${maxSeqlen} tokens`);
  if (unanswered > 0)
    notes.push(
      `${path}: ${unanswered} of ${items.length} records have no answer token left to learn`,
    );
  return { items, notes };
}
