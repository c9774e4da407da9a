/** `prompt_answer` dataset (reference: D10): records with `prompt` and `answer` to `packed_input_ids` and `prompt_mask`. */
import { DataError, SequenceSample, type Tokenizer } from '@realhf/api';
import { Dataset, type DatasetOptions, type RecordCodec } from './dataset.js';
import { encodeAnswer, padTo } from './encode.js';
import { checkLimits, type ModelLimits } from './limits.js';
import { promptText, type PromptTemplate } from './prompt-text.js';
import { stringField } from './records/fields.js';

/** How prompts with answers become samples. */
export interface PromptAnswerLoad extends DatasetOptions {
  readonly tokenizer: Tokenizer;
  /** Tokens at most, EOS included. */
  readonly maxSeqlen: number;
  /** BOS before every sequence. Default false. */
  readonly addBos?: boolean;
  readonly template?: PromptTemplate | undefined;
  readonly padToMaxLength?: boolean;
  readonly limits?: ModelLimits | undefined;
}

interface Answered {
  readonly id: string;
  readonly tokens: Int32Array;
  readonly mask: Uint8Array;
}

/**
 * `prompt_mask` (u8, length L) is 1 on the prompt's tokens, and on padding. Throws DataError naming file and line; also
 * when no record has an answer token within maxSeqlen.
 */
export function openPromptAnswerDataset(options: PromptAnswerLoad): Promise<Dataset<Answered>> {
  const { tokenizer, maxSeqlen } = options;
  const codec: RecordCodec<Answered> = {
    selective: false,
    prepare(record, count) {
      const encoded = encodeAnswer(
        tokenizer,
        promptText(record, options.template),
        stringField(record, 'answer'),
        maxSeqlen,
        options.addBos ?? false,
      );
      const n = encoded.tokens.length;
      if (n < 2)
        throw new DataError(
          `${record.where}: ${n} token in prompt and answer together, training needs at least 2`,
        );
      const tokens = options.padToMaxLength
        ? padTo(encoded.tokens, maxSeqlen, tokenizer, 'right')
        : encoded.tokens;
      checkLimits(record, tokens, options.limits);
      if (encoded.cut) count('cut');
      if (encoded.promptLen === n) count('unanswered');
      const mask = new Uint8Array(tokens.length);
      mask.fill(1, 0, encoded.promptLen).fill(1, n);
      return { id: record.id, tokens, mask };
    },
    item: ({ id, tokens, mask }) =>
      SequenceSample.fromDefault({
        ids: [id],
        seqlens: [tokens.length],
        data: { packed_input_ids: tokens, prompt_mask: mask },
      }),
    notes(tally, path, records) {
      const cut = tally.get('cut') ?? 0;
      const unanswered = tally.get('unanswered') ?? 0;
      if (unanswered === records)
        throw new DataError(
          `dataset '${path}': every prompt fills max_seqlen=${maxSeqlen}, no answer token is left; raise it`,
        );
      return [
        ...(cut > 0
          ? [`${path}: ${cut} of ${records} sequences were cut to ${maxSeqlen} tokens`]
          : []),
        ...(unanswered > 0
          ? [`${path}: ${unanswered} of ${records} records have no answer token left to learn`]
          : []),
      ];
    },
  };
  return Dataset.open(options, codec);
}
