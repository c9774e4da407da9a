/**
 * `rw_pair` dataset (reference: D12): records with `prompt`, `pos_answers`, `neg_answers` to `packed_input_ids`
 * (pos, neg, pos, neg, …) and `prompt_lens` (one per item). Which pairs of a record are taken depends on seed, epoch
 * and record alone, so a resumed run sees the same ones.
 */
import { DataError, SequenceSample, type Tokenizer } from '@realhf/api';
import { type DataSource, ListDataSource } from '@realhf/dataflow';
import { encodeAnswer, padTo } from './encode.js';
import { checkLimits, type ModelLimits } from './limits.js';
import { choose } from './random.js';
import { readRecords, stringField, stringsField } from './read-records.js';

export interface RwPairLoad {
  readonly path: string;
  readonly tokenizer: Tokenizer;
  readonly maxSeqlen: number;
  readonly maxPairsPerPrompt: number;
  readonly seed: number;
  /** BOS before every sequence. Default false. */
  readonly addBos?: boolean;
  readonly padToMaxLength?: boolean;
  readonly limits?: ModelLimits | undefined;
}

interface PairRecord {
  readonly id: string;
  readonly promptLen: number;
  /** [pairs], each pos and neg tokens. */
  readonly pairs: readonly (readonly [Int32Array, Int32Array])[];
}

/** All encoded pairs of a file. */
export class RwPairs {
  readonly notes: readonly string[];
  private readonly records: readonly PairRecord[];
  private readonly options: RwPairLoad;

  /** Reads and encodes a whole file. Throws DataError naming file and line. */
  constructor(options: RwPairLoad) {
    this.options = options;
    let cut = 0;
    this.records = readRecords(options.path).map((record) => {
      const prompt = stringField(record, 'prompt');
      const pos = stringsField(record, 'pos_answers');
      const neg = stringsField(record, 'neg_answers');
      if (pos.length !== neg.length)
        throw new DataError(
          `${record.where}: ${pos.length} pos_answers and ${neg.length} neg_answers; they go in pairs`,
        );
      let promptLen = Infinity;
      const encode = (answer: string) => {
        const e = encodeAnswer(
          options.tokenizer,
          prompt,
          answer,
          options.maxSeqlen,
          options.addBos ?? false,
        );
        if (e.cut) cut++;
        promptLen = Math.min(promptLen, e.promptLen);
        const tokens = options.padToMaxLength
          ? padTo(e.tokens, options.maxSeqlen, options.tokenizer, 'right')
          : e.tokens;
        checkLimits(record, tokens, options.limits);
        return tokens;
      };
      const pairs = pos.map((p, i) => [encode(p), encode(neg[i]!)] as const);
      return { id: record.id, promptLen, pairs };
    });
    this.notes =
      cut > 0 ? [`${options.path}: ${cut} sequences were cut to ${options.maxSeqlen} tokens`] : [];
  }

  get size(): number {
    return this.records.length;
  }

  /** One item: at most maxPairsPerPrompt pairs of record `index`, drawn without replacement, in file order. */
  item(index: number, epoch: number): SequenceSample {
    const { id, promptLen, pairs } = this.records[index]!;
    const { seed, maxPairsPerPrompt } = this.options;
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
  }

  /** Every record once, as epoch 0 draws them: for evaluation. */
  items(): SequenceSample[] {
    return this.records.map((_, i) => this.item(i, 0));
  }
}

/** Shuffled items of RwPairs, drawn anew each epoch. */
export class RwPairSource implements DataSource {
  private readonly pairs: RwPairs;
  private readonly order: ListDataSource;

  constructor(pairs: RwPairs, seed: number) {
    this.pairs = pairs;
    // The order is that of a list of indices; the items are made when their turn comes.
    const indices = Array.from({ length: pairs.size }, (_, i) => index(i));
    this.order = new ListDataSource(indices, { seed });
  }
  get size(): number {
    return this.order.size;
  }
  get epoch(): number {
    return this.order.epoch;
  }
  next(n: number): SequenceSample | undefined {
    const epoch = this.order.epoch;
    const picked = this.order.next(n);
    return (
      picked && SequenceSample.gather(picked.ids.map((id) => this.pairs.item(Number(id), epoch)))
    );
  }
  state(): unknown {
    return this.order.state();
  }
  restore(state: unknown): void {
    this.order.restore(state);
  }
}

function index(i: number): SequenceSample {
  return new SequenceSample({
    ids: [String(i)],
    seqlens: {},
    data: {},
    dtypes: {},
    trailingShapes: {},
  });
}
