// Byte-level BPE (Sennrich et al. 2016, bytes as in GPT-2) on lower-cased text: trainer, encoder and the Hugging Face
// files. Ids: 0 <|endoftext|>, 1 <|pad|>, 2..257 the bytes, then one id per merge, then whole words. Words need no chain
// of merges ("ignore_merges"), so few ids are spent on fragments that a small model would only sample as junk.

const SPLIT = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
export const EOS = '<|endoftext|>';
export const PAD = '<|pad|>';

/** The printable character that stands for each byte, GPT-2's table: printable bytes stand for themselves. */
export function byteCharacters() {
  const out = [];
  let next = 256;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    out.push(String.fromCodePoint(printable ? b : next++));
  }
  return out;
}

const BYTES = byteCharacters();

function pieces(text) {
  const lower = text.toLowerCase();
  const spaced = lower.startsWith(' ') ? lower : ` ${lower}`;
  return (spaced.match(SPLIT) ?? []).map((p) =>
    [...new TextEncoder().encode(p)].map((b) => BYTES[b]).join(''),
  );
}

/**
 * Trains `mergeCount` merges for words outside the list, then adds the commonest pre-tokenized pieces whole until the
 * vocabulary holds `vocabSize` entries. `weight(piece)` multiplies a piece's count. Ties go to the smaller string.
 */
export function trainBpe(texts, vocabSize, mergeCount, weight) {
  const count = new Map();
  for (const text of texts) for (const p of pieces(text)) count.set(p, (count.get(p) ?? 0) + 1);
  const entries = [...count].sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const symbols = entries.map(([p]) => [...p]);
  const freq = entries.map(([p, n]) => n * weight(p));
  const vocab = [EOS, PAD, ...BYTES];
  const merges = [];
  while (merges.length < mergeCount) {
    const pairs = new Map();
    symbols.forEach((s, k) => {
      for (let i = 0; i + 1 < s.length; i++) {
        const pair = `${s[i]} ${s[i + 1]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + freq[k]);
      }
    });
    let best = '';
    let most = 0;
    for (const [pair, n] of pairs) {
      if (n > most || (n === most && pair < best)) {
        best = pair;
        most = n;
      }
    }
    const [left, right] = best.split(' ');
    merges.push(best);
    vocab.push(left + right);
    for (const s of symbols) mergeIn(s, left, right);
  }
  const have = new Set(vocab);
  const whole = entries
    .map(([p], k) => [p, freq[k]])
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  for (const [p] of whole) if (vocab.length < vocabSize && !have.has(p)) vocab.push(p);
  return { vocab, merges };
}

function mergeIn(s, left, right) {
  for (let i = 0; i + 1 < s.length; i++) {
    if (s[i] === left && s[i + 1] === right) s.splice(i, 2, left + right);
  }
}

/** A function from text to token ids, equal to what the Hugging Face libraries give for the written files. */
export function makeEncoder({ vocab, merges }) {
  const id = new Map(vocab.map((v, i) => [v, i]));
  const rank = new Map(merges.map((m, i) => [m, i]));
  const cache = new Map();
  const encodePiece = (piece) => {
    if (id.has(piece)) return [id.get(piece)];
    const s = [...piece];
    for (;;) {
      let best = Infinity;
      for (let i = 0; i + 1 < s.length; i++)
        best = Math.min(best, rank.get(`${s[i]} ${s[i + 1]}`) ?? Infinity);
      if (best === Infinity) return s.map((x) => id.get(x));
      const [left, right] = merges[best].split(' ');
      mergeIn(s, left, right);
    }
  };
  return (text) =>
    pieces(text).flatMap((p) => {
      if (!cache.has(p)) cache.set(p, encodePiece(p));
      return cache.get(p);
    });
}

/** Contents of tokenizer.json and tokenizer_config.json. */
export function tokenizerFiles({ vocab, merges }) {
  const special = (content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: true,
    trim_offsets: true,
    use_regex: true,
  };
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [special(EOS, 0), special(PAD, 1)],
      normalizer: { type: 'Lowercase' },
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
        ignore_merges: true,
        vocab: Object.fromEntries(vocab.map((v, i) => [v, i])),
        merges,
      },
    },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      eos_token: EOS,
      pad_token: PAD,
      model_max_length: 64,
      clean_up_tokenization_spaces: false,
      add_prefix_space: true,
    },
  };
}
