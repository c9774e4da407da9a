/** `prompt` dataset (reference: D11): records with `prompt` to `packed_prompts`. No EOS: generation goes on from there. */
import { DataError, SequenceSample, type Tokenizer } from '@realhf/api';
import { Dataset, type DatasetOptions, type RecordCodec } from './dataset.js';
import { encodeText, padTo } from './encode.js';
import { checkLimits, type ModelLimits } from './limits.js';
import { promptText, type PromptTemplate } from './prompt-text.js';

/** How prompts become samples. */
export interface PromptLoad extends DatasetOptions {
  readonly tokenizer: Tokenizer;
  /** Tokens. */
  readonly maxPromptLen: number;
  /** Leave longer prompts out instead of failing. */
  readonly skipLong?: boolean;
  /** BOS before every sequence. Default false. */
  readonly addBos?: boolean;
  readonly template?: PromptTemplate | undefined;
  /** Fill up on the left; benchmarks only. */
  readonly padToMaxLength?: boolean;
  /** Of the actor. */
  readonly limits?: ModelLimits | undefined;
}

/** A prompt and its record. */
export interface Prompt {
  readonly id: string;
  /** As it was encoded: tokens may not decode to the text that they came from. */
  readonly text: string;
  readonly tokens: Int32Array;
}

/** Throws DataError naming file and line, a too long prompt included. */
export function openPromptDataset(options: PromptLoad): Promise<Dataset<Prompt>> {
  const { tokenizer, maxPromptLen, skipLong = false } = options;
  const codec: RecordCodec<Prompt> = {
    selective: skipLong,
    prepare(record, count) {
      const text = promptText(record, options.template);
      const tokens = encodeText(tokenizer, text, options.addBos ?? false);
      if (tokens.length === 0)
        throw new DataError(
          `${record.where}: 'prompt' has no tokens; generation needs at least one`,
        );
      if (tokens.length > maxPromptLen) {
        if (skipLong) {
          count('long');
          return undefined;
        }
        throw new DataError(
          `${record.where}: the prompt has ${tokens.length} tokens, dataset.max_prompt_len is ${maxPromptLen}; raise it or set dataset.skip_long_prompts=true`,
        );
      }
      const padded = options.padToMaxLength
        ? padTo(tokens, maxPromptLen, tokenizer, 'left')
        : tokens;
      checkLimits(record, padded, options.limits);
      return { id: record.id, text, tokens: padded };
    },
    item: ({ id, tokens }) =>
      SequenceSample.fromDefault({
        ids: [id],
        seqlens: [tokens.length],
        data: { packed_prompts: tokens },
      }),
    notes(tally, path, records) {
      const long = tally.get('long') ?? 0;
      return long > 0
        ? [`${path}: left out ${long} of ${records} prompts longer than ${maxPromptLen} tokens`]
        : [];
    },
  };
  return Dataset.open(options, codec);
}
