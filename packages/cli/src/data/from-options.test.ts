import { fileURLToPath } from 'node:url';
import type { Tokenizer } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import {
  promptAnswerOptions,
  trainPromptOptions,
  rwPairOptions,
} from '../options/schemas/dataset.js';
import { openPromptAnswer, openPrompts, openRwPairs } from './from-options.js';

const asset = (name: string) =>
  fileURLToPath(new URL(`../../assets/quickstart/${name}`, import.meta.url));
/** Code points as tokens. */
const tokenizer: Tokenizer = {
  vocabSize: 0x110000,
  eosTokenId: 0,
  padTokenId: 0,
  bosTokenId: null,
  encode: (text) => Int32Array.from(text, (c) => c.codePointAt(0)!),
  decode: () => '',
};

describe('the quickstart’s files', () => {
  it('open as the options say', async () => {
    const sft = await openPromptAnswer(
      promptAnswerOptions.parse({
        train_path: asset('sft-train.jsonl'),
        valid_path: asset('sft-valid.jsonl'),
        train_bs_n_seqs: 8,
        valid_bs_n_seqs: 16,
      }),
      tokenizer,
      1,
    );
    expect([...(await sft.train.next(8))!.keys]).toEqual(['packed_input_ids', 'prompt_mask']);
    expect(sft.valid![0]!.ids).toHaveLength(16);
    const rw = await openRwPairs(
      rwPairOptions.parse({ train_path: asset('rw-train.jsonl'), train_bs_n_seqs: 4 }),
      tokenizer,
      1,
    );
    expect(rw.valid).toBeUndefined();
    expect([...(await rw.train.next(4))!.keys]).toEqual(['packed_input_ids', 'prompt_lens']);
    const ppo = await openPrompts(
      trainPromptOptions.parse({
        path: asset('prompts-train.jsonl'),
        train_bs_n_seqs: 4,
        max_prompt_len: 4000,
      }),
      tokenizer,
      1,
    );
    expect((await ppo.train.next(4))!.ids).toHaveLength(4);
  });
  it('a batch larger than the file is refused by the option’s name', async () => {
    const options = trainPromptOptions.parse({
      path: asset('prompts-heldout.jsonl'),
      train_bs_n_seqs: 100_000,
      max_prompt_len: 4000,
    });
    await expect(openPrompts(options, tokenizer, 1)).rejects.toThrow(
      "option 'dataset.train_bs_n_seqs' is 100000",
    );
  });
});
