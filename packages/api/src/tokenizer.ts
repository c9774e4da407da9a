/** What the packages need of a tokenizer; `@realhf/model` makes one from tokenizer.json. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  readonly bosTokenId: number | null;
  /** No special tokens added. */
  encode(text: string): Int32Array;
  /** Special tokens skipped. */
  decode(tokens: Iterable<number>): string;
}
