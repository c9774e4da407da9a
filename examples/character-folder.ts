/** A folder as `from_pretrained` knows it, without weights: config.json of a tiny llama and a tokenizer of characters. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes it. A token per character, then the end of text and padding. */
export function writeCharacterFolder(
  dir: string,
  characters: string,
  { positions = 16, initStd = 0.1 } = {},
): void {
  const letters = Array.from(characters);
  const eos = letters.length;
  const special = (content: string, i: number) => ({
    ...{ id: eos + i, content, special: true, normalized: false },
    ...{ single_word: false, lstrip: false, rstrip: false },
  });
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    version: '1.0',
    added_tokens: ['<|end|>', '<|pad|>'].map(special),
    ...{ normalizer: null, pre_tokenizer: bytes, post_processor: null, decoder: bytes },
    model: { type: 'BPE', vocab: Object.fromEntries(letters.map((c, i) => [c, i])), merges: [] },
  };
  const config = {
    ...{ model_type: 'llama', hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2 },
    ...{ num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: positions },
    ...{ vocab_size: eos + 2, rms_norm_eps: 1e-5, tie_word_embeddings: true },
    ...{ bos_token_id: eos, eos_token_id: eos, pad_token_id: eos + 1, initializer_range: initStd },
  };
  mkdirSync(dir);
  const write = (name: string, value: unknown) => {
    writeFileSync(join(dir, name), JSON.stringify(value));
  };
  write('config.json', config);
  write('tokenizer.json', tokenizer);
  write('tokenizer_config.json', { eos_token: '<|end|>', pad_token: '<|pad|>' });
}
