/**
 * Floating point operations of a call, from lengths alone (reference: 2.12, with key-value heads, scalar heads and
 * experts counted as they are). A product of [m, k] and [k, n] is 2·m·k·n; attention counts all pairs of a sequence,
 * as the field does; norms, rope and softmax are left out, and so is the embedding, which multiplies nothing.
 */
import type { MFCDef, ModelConfig, SequenceSample } from '@realhf/api';

/** Of one token: products of one block with weights, one pair of tokens in one block, the head. */
function costs(config: ModelConfig) {
  const { hiddenDim: h, headDim: d, intermediateDim: inter } = config;
  const q = config.nHeads * d;
  const kv = config.nKvHeads * d;
  const mlp = (config.mlp === 'gated' ? 3 : 2) * h * inter;
  const { moe } = config;
  const experts = moe ? moe.topK * mlp + h * moe.numExperts : mlp;
  return {
    block: 2 * (h * (q + 2 * kv) + q * h + experts),
    pair: 4 * q,
    head: 2 * h * (config.isCritic ? 1 : config.vocabSize),
  };
}

/** Blocks alone, over packed sequences of these lengths. */
function blocks(config: ModelConfig, lengths: readonly number[]): number {
  const { block, pair } = costs(config);
  let sum = 0;
  for (const l of lengths) sum += l * block + l * l * pair;
  return config.nLayers * sum;
}

/** One forward pass over packed sequences. */
export function forwardFlops(config: ModelConfig, lengths: readonly number[]): number {
  const tokens = lengths.reduce((a, b) => a + b, 0);
  return blocks(config, lengths) + tokens * costs(config).head;
}

/** Forward and backward; with recomputation the blocks run forward twice. */
export function trainFlops(
  config: ModelConfig,
  lengths: readonly number[],
  recompute = true,
): number {
  return 3 * forwardFlops(config, lengths) + (recompute ? blocks(config, lengths) : 0);
}

/** Prompts at once, then token by token over a cache; `full[i]` ≥ `prompts[i]`: lengths with the answer. */
export function generateFlops(
  config: ModelConfig,
  prompts: readonly number[],
  full: readonly number[],
): number {
  const { block, pair, head } = costs(config);
  let sum = blocks(config, prompts);
  prompts.forEach((p, i) => {
    const n = full[i]! - p;
    // The last token is sampled and not run; the first comes out of the prompt's pass.
    const steps = Math.max(0, n - 1);
    const contexts = steps * p + (steps * (steps + 1)) / 2;
    sum += n * head + config.nLayers * (steps * block + contexts * pair);
  });
  return sum;
}

/**
 * Of one call, from the metadata of what it read and made; undefined where no key holds token lengths. A prompt with
 * several answers is read once per answer.
 */
export function callFlops(
  mfc: MFCDef,
  config: ModelConfig,
  read: SequenceSample,
  made: SequenceSample | undefined,
  recompute = true,
): number | undefined {
  const graphKey = (map: MFCDef['inputKeyRemap'], to: string) =>
    Object.entries(map ?? {}).find(([, name]) => name === to)?.[0] ?? to;
  const tokens = graphKey(mfc.inputKeyRemap, 'packed_input_ids');
  if (mfc.interfaceType === 'generate') {
    const promptKey = graphKey(mfc.inputKeyRemap, 'packed_prompts');
    const fullKey = mfc.outputKeyRemap?.packed_input_ids ?? 'packed_input_ids';
    const prompts = read.seqlens[promptKey];
    const full = made?.seqlens[fullKey];
    if (!prompts || !full) return undefined;
    const repeated = full.flatMap((answers, i) =>
      answers.map((_, j) => prompts[i]![j % prompts[i]!.length]!),
    );
    return generateFlops(config, repeated, full.flat());
  }
  const lengths = read.seqlens[tokens]?.flat();
  if (!lengths) return undefined;
  return mfc.interfaceType === 'train_step'
    ? trainFlops(config, lengths, recompute)
    : forwardFlops(config, lengths);
}
