/**
 * `rw_pair` dataset (reference: D12): records with `prompt`, `pos_answers`, `neg_answers` to `packed_input_ids`
 * (pos, neg, pos, neg, …) and `prompt_lens` (one per item). Which pairs of a record are taken depends on seed, epoch
 * and record alone, so a resumed run sees the same ones.
 */
import { DataError, SequenceSample, type Tokenizer } from '@realhf/api';
import { Dataset, type DatasetOptions, type RecordCodec } from './dataset.js';
import { encodeAnswer, padTo } from './encode.js';
import { checkLimits, type ModelLimits } from './limits.js';
import { promptText, type PromptTemplate } from './prompt-text.js';
import { choose } from './random.js';
import { stringsField } from './records/fields.js';

/** How pairs of answers become samples. */
export interface RwPairLoad extends DatasetOptions {
  readonly tokenizer: Tokenizer;
  readonly maxSeqlen: number;
  readonly maxPairsPerPrompt: number;
  readonly seed: number;
  /** BOS before every sequence. Default false. */
  readonly addBos?: boolean;
  readonly template?: PromptTemplate | undefined;
  readonly padToMaxLength?: boolean;
  readonly limits?: ModelLimits | undefined;
}

interface PairRecord {
  readonly id: string;
  readonly promptLen: number;
  /** [pairs], each pos and neg tokens. */
  readonly pairs: readonly (readonly [Int32Array, Int32Array])[];
}

/** An item has at most maxPairsPerPrompt pairs of its record, drawn without replacement, in file order. Throws DataError. */
export function openRwPairDataset(options: RwPairLoad): Promise<Dataset<PairRecord>> {
  const { tokenizer, maxSeqlen, maxPairsPerPrompt, seed, addBos = false } = options;
  const codec: RecordCodec<PairRecord> = {
    selective: false,
    prepare(record, count) {
      const prompt = promptText(record, options.template);
      const pos = stringsField(record, 'pos_answers');
      const neg = stringsField(record, 'neg_answers');
      if (pos.length !== neg.length)
        throw new DataError(
          `${record.where}: ${pos.length} pos_answers and ${neg.length} neg_answers; they go in pairs`,
        );
      let promptLen = Infinity;
      const encode = (answer: string) => {
        const e = encodeAnswer(tokenizer, prompt, answer, maxSeqlen, addBos);
        if (e.cut) count('cut');
        promptLen = Math.min(promptLen, e.promptLen);
        const tokens = options.padToMaxLength
          ? padTo(e.tokens, maxSeqlen, tokenizer, 'right')
          : e.tokens;
        checkLimits(record, tokens, options.limits);
        return tokens;
      };
      const pairs = pos.map((p, i) => [encode(p), encode(neg[i]!)] as const);
      return { id: record.id, promptLen, pairs };
    },
    item({ id, promptLen, pairs }, index, epoch) {
      const picked = choose(pairs.length, maxPairsPerPrompt, [seed, epoch, index]);
      const sequences = picked.flatMap((i) => [...pairs[i]!]);
      const tokens = new Int32Array(sequences.reduce((n, s) => n + s.length, 0));
      let at = 0;
      for (const s of sequences) {
        tokens.set(s, at);
        at += s.length;
      }
      return new SequenceSample({
        ids: [id],
        seqlens: { packed_input_ids: [sequences.map((s) => s.length)], prompt_lens: [[1]] },
        data: { packed_input_ids: tokens, prompt_lens: Int32Array.of(promptLen) },
        dtypes: { packed_input_ids: 'i32', prompt_lens: 'i32' },
        trailingShapes: { packed_input_ids: [], prompt_lens: [] },
      });
    },
    notes(tally, path) {
      const cut = tally.get('cut') ?? 0;
      return cut > 0 ? [`${path}: ${cut} sequences were cut to ${maxSeqlen} tokens`] : [];
    },
  };
  return Dataset.open(options, codec);
}
