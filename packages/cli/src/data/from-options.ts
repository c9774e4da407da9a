/** Datasets as the options describe them: the shuffled training source and the evaluation batches. */
import type { SequenceSample, Tokenizer } from '@realhf/api';
import { type DataSource, ListDataSource } from '@realhf/dataflow';
import type {
  PromptAnswerOptions,
  PromptOptions,
  RwPairOptions,
} from '../options/schemas/dataset.js';
import { checkBatchSize, evalBatches } from './batches.js';
import type { ModelLimits } from './limits.js';
import { loadPromptAnswer } from './prompt-answer.js';
import { loadPrompts } from './prompts.js';
import { RwPairs, RwPairSource } from './rw-pairs.js';

export interface OpenedDataset {
  readonly train: DataSource;
  /** In file order, the last one possibly short; undefined without a valid_path. */
  readonly valid: readonly SequenceSample[] | undefined;
  /** Lines worth telling the user. */
  readonly notes: readonly string[];
}

const option = 'dataset.train_bs_n_seqs';

/** `limits`: of the model, checked before the run. Throws DataError (file and line) or ConfigError (fewer records than a batch). */
export function openPromptAnswer(
  options: PromptAnswerOptions,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): OpenedDataset {
  const load = (path: string) =>
    loadPromptAnswer({
      path,
      tokenizer,
      maxSeqlen: options.max_seqlen,
      addBos: options.add_bos,
      padToMaxLength: options.pad_to_max_length,
      limits,
    });
  const train = load(options.train_path);
  checkBatchSize(train.items.length, options.train_bs_n_seqs, option);
  const valid = options.valid_path === null ? undefined : load(options.valid_path);
  return {
    train: new ListDataSource(train.items, { seed }),
    valid: valid && evalBatches(valid.items, options.valid_bs_n_seqs),
    notes: [...train.notes, ...(valid?.notes ?? [])],
  };
}

/** `limits`: of the model, checked before the run. Throws DataError (file and line) or ConfigError (fewer records than a batch). */
export function openRwPairs(
  options: RwPairOptions,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): OpenedDataset {
  const load = (path: string) =>
    new RwPairs({
      path,
      tokenizer,
      seed,
      maxSeqlen: options.max_seqlen,
      maxPairsPerPrompt: options.max_pairs_per_prompt,
      addBos: options.add_bos,
      padToMaxLength: options.pad_to_max_length,
      limits,
    });
  const train = load(options.train_path);
  checkBatchSize(train.size, options.train_bs_n_seqs, option);
  const valid = options.valid_path === null ? undefined : load(options.valid_path);
  return {
    train: new RwPairSource(train, seed),
    valid: valid && evalBatches(valid.items(), options.valid_bs_n_seqs),
    notes: [...train.notes, ...(valid?.notes ?? [])],
  };
}

/** `limits`: of the model, checked before the run. Throws DataError (file and line) or ConfigError (fewer prompts than a batch). */
export function openPrompts(
  options: PromptOptions,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): OpenedDataset {
  const { items, notes } = loadPrompts({
    path: options.path,
    tokenizer,
    maxPromptLen: options.max_prompt_len,
    skipLong: options.skip_long_prompts,
    addBos: options.add_bos,
    padToMaxLength: options.pad_to_max_length,
    limits,
  });
  checkBatchSize(items.length, options.train_bs_n_seqs, option);
  return { train: new ListDataSource(items, { seed }), valid: undefined, notes };
}
