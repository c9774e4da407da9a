/** One turn of a conversation: `system`, `user`, `assistant`, `tool` or what the template knows. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

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
  /**
   * A conversation as the model was taught to read it, special tokens included as text; with `addGenerationPrompt` it
   * ends where the assistant begins to speak. Absent: the model has no chat template. Throws DataError.
   */
  readonly applyChatTemplate?: (
    messages: readonly ChatMessage[],
    options?: { readonly addGenerationPrompt?: boolean },
  ) => string;
}
