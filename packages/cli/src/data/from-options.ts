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
import { openDatasetType, type TypeOptions, type TypeRequest } from './dataset-types.js';
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

/** Options whose dataset type may be left out, where a program gives them. */
type Untyped<T> = Omit<T, 'type' | 'args'> & Partial<TypeOptions>;

interface Batches extends Partial<TypeOptions> {
  readonly valid_path: string | null;
  readonly train_bs_n_seqs: number;
  readonly valid_bs_n_seqs: number;
}

/** `keys`: what an item needs; `load` reads records, where no dataset type of a user's makes the items. */
async function opened<T>(
  load: (path: string) => Promise<Dataset<T>>,
  { path, keys, ...more }: { path: string; keys: string[] } & Omit<TypeRequest, 'path'>,
  options: Batches,
): Promise<OpenedDataset> {
  const open = async (from: string) =>
    (await openDatasetType(options, keys, { path: from, ...more })) ?? (await load(from));
  const train = await open(path);
  checkBatchSize(train.size, options.train_bs_n_seqs, option);
  const valid = options.valid_path === null ? undefined : await open(options.valid_path);
  return {
    train: train.source(more.seed),
    valid: valid && evalBatches(valid.items(), options.valid_bs_n_seqs),
    notes: [...train.notes, ...(valid?.notes ?? [])],
  };
}

/** `limits`: of the model, checked before the run. Throws DataError (file and line) or ConfigError (fewer records than a batch). */
export function openPromptAnswer(
  options: Untyped<PromptAnswerOptions>,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): Promise<OpenedDataset> {
  const more = { ...common(options, tokenizer), maxSeqlen: options.max_seqlen, limits };
  return opened(
    (path) => openPromptAnswerDataset({ path, ...more }),
    {
      path: options.train_path,
      keys: ['packed_input_ids', 'prompt_mask'],
      tokenizer,
      seed,
      limits,
    },
    options,
  );
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
  return opened(
    (path) => openRwPairDataset({ path, ...more }),
    {
      path: options.train_path,
      keys: ['packed_input_ids', 'prompt_lens'],
      tokenizer,
      seed,
      limits,
    },
    options,
  );
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
export function openPrompts(
  options: TrainPromptOptions,
  tokenizer: Tokenizer,
  seed: number,
  limits?: ModelLimits,
): Promise<OpenedDataset> {
  return opened(
    (path) => promptDataset({ ...options, path }, tokenizer, limits),
    { path: options.path, keys: ['packed_prompts'], tokenizer, seed, limits },
    options,
  );
}
