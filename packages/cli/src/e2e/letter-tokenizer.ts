/** tokenizer.json of a byte-level tokenizer without merges: one token per character. */

const byteLevel = {
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
};

/** The i-th of `letters` has id `first` + i, the i-th of `special` id `firstSpecial` + i. */
export const letterTokenizer = (
  letters: readonly string[],
  first: number,
  special: readonly string[],
  firstSpecial: number,
) => ({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: special.map((content, i) => ({
    id: firstSpecial + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: byteLevel,
  post_processor: null,
  decoder: byteLevel,
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries(letters.map((c, i) => [c, first + i])),
    merges: [],
  },
});
