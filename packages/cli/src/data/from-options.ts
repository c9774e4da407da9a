/** Datasets as the options describe them: the shuffled training source and the evaluation batches. */
import type { SequenceSample, Tokenizer } from '@realhf/api';
import type { DataSource } from '@realhf/dataflow';
import type {
  PromptAnswerOptions,
  PromptOptions,
  RwPairOptions,
  TrainPromptOptions,
} from '../options/schemas/dataset.js';
import { checkBatchSize, evalBatches } from './batches.js';
import type { ModelLimits } from './limits.js';
import type { Dataset } from './dataset.js';
import { openPromptAnswerDataset } from './prompt-answer.js';
import { templateOf } from './prompt-text.js';
import { openPromptDataset, type Prompt } from './prompts.js';
import { openRwPairDataset } from './rw-pairs.js';

/** Training and validation data of a command. */
export interface OpenedDataset {
  readonly train: DataSource;
  /** In file order, the last one possibly short; undefined without a valid_path. */
  readonly valid: readonly SequenceSample[] | undefined;
  /** Lines worth telling the user. */
  readonly notes: readonly string[];
}

const option = 'dataset.train_bs_n_seqs';

/** What every kind of dataset takes from its options. */
function common(
  options: Pick<
    PromptOptions,
    'fields' | 'on_error' | 'add_bos' | 'pad_to_max_length' | 'chat_template'
  >,
  tokenizer: Tokenizer,
) {
  return {
    tokenizer,
    fields: options.fields,
    onError: options.on_error,
    addBos: options.add_bos,
    padToMaxLength: options.pad_to_max_length,
    template: templateOf(tokenizer, options.chat_template),
  };
}

async function opened<T>(
  load: (path: string) => Promise<Dataset<T>>,
  options: Pick<
    PromptAnswerOptions,
    'train_path' | 'valid_path' | 'train_bs_n_seqs' | 'valid_bs_n_seqs'
  >,
  seed: number,
): Promise<OpenedDataset> {
  const train = await load(options.train_path);
  checkBatchSize(train.size, options.train_bs_n_seqs, option);
  const valid = options.valid_path === null ? undefined : await load(options.valid_path);
  return {
    train: train.source(seed),
    valid: valid && evalBatches(valid.items(), options.valid_bs_n_seqs),
    notes: [...train.notes, ...(valid?.notes ?? [])],
  };
}

/** `limits`: of the model, checked before the run. Throws DataError (file and line) or ConfigError (fewer records than a batch). */
export function openPromptAnswer(
  options: PromptAnswerOptions,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): Promise<OpenedDataset> {
  const more = { ...common(options, tokenizer), maxSeqlen: options.max_seqlen, limits };
  return opened((path) => openPromptAnswerDataset({ path, ...more }), options, seed);
}

/** `limits`: of the model, checked before the run. Throws DataError (file and line) or ConfigError (fewer records than a batch). */
export function openRwPairs(
  options: RwPairOptions,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): Promise<OpenedDataset> {
  const more = {
    ...common(options, tokenizer),
    seed,
    maxSeqlen: options.max_seqlen,
    maxPairsPerPrompt: options.max_pairs_per_prompt,
    limits,
  };
  return opened((path) => openRwPairDataset({ path, ...more }), options, seed);
}

/** The prompts themselves. Throws DataError (file and line). */
export function promptDataset(
  options: PromptOptions,
  tokenizer: Tokenizer,
  limits?: ModelLimits,
): Promise<Dataset<Prompt>> {
  return openPromptDataset({
    path: options.path,
    ...common(options, tokenizer),
    maxPromptLen: options.max_prompt_len,
    skipLong: options.skip_long_prompts,
    limits,
  });
}

/** `limits`: of the model, checked before the run. Throws DataError (file and line) or ConfigError (fewer prompts than a batch). */
export async function openPrompts(
  options: TrainPromptOptions,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): Promise<OpenedDataset> {
  const prompts = await promptDataset(options, tokenizer, limits);
  checkBatchSize(prompts.size, options.train_bs_n_seqs, option);
  const { valid_path: path, valid_bs_n_seqs: size } = options;
  const valid =
    path === null ? undefined : await promptDataset({ ...options, path }, tokenizer, limits);
  return {
    train: prompts.source(seed),
    valid: valid && evalBatches(valid.items(), size),
    notes: [...prompts.notes, ...(valid?.notes ?? [])],
  };
}
