/** `prompt` dataset (reference: D11): records with `prompt` to `packed_prompts`. No EOS: generation goes on from there. */
import { DataError, SequenceSample, type Tokenizer } from '@realhf/api';
import { encodeText, padTo } from './encode.js';
import { checkLimits, type ModelLimits } from './limits.js';
import type { Loaded } from './prompt-answer.js';
import { readRecords, stringField } from './read-records.js';

export interface PromptLoad {
  readonly path: string;
  readonly tokenizer: Tokenizer;
  /** Tokens. */
  readonly maxPromptLen: number;
  /** Leave longer prompts out instead of failing. */
  readonly skipLong?: boolean;
  /** BOS before every sequence. Default false. */
  readonly addBos?: boolean;
  /** Fill up on the left; benchmarks only. */
  readonly padToMaxLength?: boolean;
  /** Of the actor. */
  readonly limits?: ModelLimits | undefined;
}

/** Reads and encodes a whole file. Throws DataError naming file and line, a too long prompt included. */
export function loadPrompts(options: PromptLoad): Loaded {
  const { path, tokenizer, maxPromptLen } = options;
  const records = readRecords(path);
  const items: SequenceSample[] = [];
  for (const record of records) {
    const tokens = encodeText(tokenizer, stringField(record, 'prompt'), options.addBos ?? false);
    if (tokens.length === 0)
      throw new DataError(`${record.where}: 'prompt' has no tokens; generation needs at least one`);
    if (tokens.length > maxPromptLen) {
      if (options.skipLong) continue;
      throw new DataError(
        `${record.where}: the prompt has ${tokens.length} tokens, dataset.max_prompt_len is ${maxPromptLen}; raise it or set dataset.skip_long_prompts=true`,
      );
    }
    const prompt = options.padToMaxLength ? padTo(tokens, maxPromptLen, tokenizer, 'left') : tokens;
    checkLimits(record, prompt, options.limits);
    items.push(
      SequenceSample.fromDefault({
        ids: [record.id],
        seqlens: [prompt.length],
        data: { packed_prompts: prompt },
      }),
    );
  }
  if (items.length === 0)
    throw new DataError(
      `dataset '${path}': all ${records.length} prompts are longer than dataset.max_prompt_len=${maxPromptLen}`,
    );
  const skipped = records.length - items.length;
  const notes =
    skipped > 0
      ? [
          `${path}: left out ${skipped} of ${records.length} prompts longer than ${maxPromptLen} tokens`,
        ]
      : [];
  return { items, notes };
}
