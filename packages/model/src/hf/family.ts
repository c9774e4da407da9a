/**
 * HfFamily: how one Hugging Face architecture's config.json and tensors correspond to ours (reference: M3). The
 * mapping of tensors is data, read in both directions. A critic is stored as the family's
 * `ForSequenceClassification` with one label, whose head is `score.weight`.
 */
import { ConfigError, type ModelConfig } from '@realhf/api';

/** config.json as parsed. */
export type HfConfig = Readonly<Record<string, unknown>>;

/** One Hugging Face tensor and the rows of our parameter that it is. */
export interface TensorMapping {
  /** Name in the checkpoint. */
  readonly hf: string;
  /** Shape in the checkpoint. */
  readonly hfShape: readonly number[];
  readonly param: string;
  /** Rows begin ≤ r < end of the full parameter [rows, columns]. */
  readonly rows: readonly [begin: number, end: number];
  /** The checkpoint holds [columns, rows] (gpt2's Conv1D). */
  readonly transposed: boolean;
}

/** A family of Hugging Face models: how its config and weights translate. */
export interface HfFamily {
  readonly name: string;
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** `architectures` entries: of the causal model and of the classifier that stores a critic. */
  readonly architectures: { readonly causal: string; readonly critic: string };
  /** Prefix that names lack in checkpoints of the bare model (`model.`, `transformer.`). */
  readonly basePrefix: string;
  /** Names that old checkpoints carry and that are no parameters. */
  readonly ignored: RegExp;
  /** Throws ConfigError naming the field. `isCritic` follows `architectures`. */
  configFromHf(json: HfConfig): ModelConfig;
  /** Throws ConfigError if the family can't express the config. */
  configToHf(config: ModelConfig): Record<string, unknown>;
  /** All tensors of the checkpoint, the head too where it has one; in the order they are written. */
  tensors(config: ModelConfig): TensorMapping[];
  /** The same parameters under other names: read where a checkpoint has them, never written. */
  otherTensors?(config: ModelConfig): TensorMapping[];
}

/** `architectures` and, for critics, the one label of the classifier. */
export function architectureFields(
  family: Pick<HfFamily, 'architectures' | 'modelType'>,
  config: ModelConfig,
): Record<string, unknown> {
  const { causal, critic } = family.architectures;
  return {
    architectures: [config.isCritic ? critic : causal],
    model_type: family.modelType,
    ...(config.isCritic
      ? { num_labels: 1, id2label: { '0': 'LABEL_0' }, label2id: { LABEL_0: 0 } }
      : {}),
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenId,
    pad_token_id: config.padTokenId,
    dtype: 'float32',
    torch_dtype: 'float32',
  };
}

/** Whether config.json describes a sequence classifier. */
export function isClassifier(json: HfConfig): boolean {
  const a = json.architectures;
  return Array.isArray(a) && typeof a[0] === 'string' && a[0].endsWith('ForSequenceClassification');
}

/** Throws ConfigError unless every field has the only value that the family can store. */
export function requireFields(
  family: string,
  config: ModelConfig,
  only: Partial<Record<keyof ModelConfig, unknown>>,
): void {
  for (const [key, value] of Object.entries(only)) {
    const found = config[key as keyof ModelConfig];
    if (found !== value)
      throw new ConfigError(
        `a ${family} checkpoint can't store ${key} = ${JSON.stringify(found)}, only ${JSON.stringify(value)}; use another family`,
      );
  }
}

/** Whether q·k is divided by √headDim (to rounding: a config may have been computed elsewhere). */
export function isStandardScale({ attentionScale, headDim }: ModelConfig): boolean {
  return Math.abs(attentionScale * Math.sqrt(headDim) - 1) < 1e-6;
}
