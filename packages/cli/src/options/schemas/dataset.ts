/** Dataset options (reference: D13). Batch sizes count items: records of the file. */
import { z } from 'zod';
import type { CommonConfig, Report } from './common.js';

const path = (what: string) =>
  z.string().min(1).describe(`${what}: .jsonl, .json, .jsonl.gz, .json.gz or .parquet`);
const count = () => z.number().int().positive();

const validPath = z
  .string()
  .min(1)
  .nullable()
  .default(null)
  .describe('records to evaluate on; null: no evaluation');
const batchSizes = {
  train_bs_n_seqs: count().default(256).describe('records per training step'),
  valid_bs_n_seqs: count().default(256).describe('records per evaluation batch'),
};
const maxSeqlen = count().default(1024).describe('longer sequences are cut, in tokens');
const addBos = z
  .boolean()
  .default(false)
  .describe('begin every sequence with BOS, as llama checkpoints were trained');
const padToMaxLength = z
  .boolean()
  .default(false)
  .describe('fill every sequence up to the limit; for benchmarks only');

const fieldName = (of: string) =>
  z.string().min(1).default(of).describe(`name of ${of} in the records`);
const promptFields = {
  id: fieldName('id'),
  prompt: fieldName('prompt'),
  messages: fieldName('messages'),
};
const named = 'names of fields in the records';
const records = {
  chat_template: z
    .boolean()
    .default(false)
    .describe(
      "write prompts with the model's chat template: messages ({role, content} each), or prompt as the user's turn",
    ),
  on_error: z
    .enum(['fail', 'skip'])
    .default('fail')
    .describe('what a bad record does: end the run with file and line, or be left out and counted'),
};

const types = {
  type: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      'dataset type that a file of user_modules registers, with options args.*; null: records',
    ),
  args: z.looseObject({}).optional(),
};

/** sft: `prompt`, `answer`. */
export const promptAnswerOptions = z.object({
  ...types,
  train_path: path('records with prompt and answer'),
  valid_path: validPath,
  fields: z
    .object({ ...promptFields, answer: fieldName('answer') })
    .prefault({})
    .describe(named),
  ...records,
  max_seqlen: maxSeqlen,
  ...batchSizes,
  add_bos: addBos,
  pad_to_max_length: padToMaxLength,
});

/** Options of prompts with answers. */
export type PromptAnswerOptions = z.infer<typeof promptAnswerOptions>;

/** rw: `prompt`, `pos_answers`, `neg_answers`. */
export const rwPairOptions = z.object({
  ...types,
  train_path: path('records with prompt, pos_answers and neg_answers'),
  valid_path: validPath,
  fields: z
    .object({
      ...promptFields,
      pos_answers: fieldName('pos_answers'),
      neg_answers: fieldName('neg_answers'),
    })
    .prefault({})
    .describe(named),
  ...records,
  max_seqlen: maxSeqlen,
  max_pairs_per_prompt: count().default(2).describe('pairs drawn from a record each epoch'),
  ...batchSizes,
  add_bos: addBos,
  pad_to_max_length: padToMaxLength,
});

/** Options of prompts with better and worse answers. */
export type RwPairOptions = z.infer<typeof rwPairOptions>;

/** ppo: `prompt`. */
export const promptOptions = z.object({
  path: path('records with prompt'),
  fields: z.object(promptFields).prefault({}).describe(named),
  ...records,
  max_prompt_len: count().default(256).describe('a longer prompt is an error, in tokens'),
  skip_long_prompts: z
    .boolean()
    .default(false)
    .describe('leave out prompts longer than max_prompt_len instead'),
  train_bs_n_seqs: count().default(256).describe('prompts per step'),
  add_bos: addBos,
  pad_to_max_length: padToMaxLength,
});

/** Options of prompts. */
export type PromptOptions = z.infer<typeof promptOptions>;

/** Commands that generate in training: `prompt`, and held-out prompts to evaluate on. */
export const trainPromptOptions = promptOptions.extend({
  ...types,
  valid_path: validPath.describe('prompts to evaluate on; null: no evaluation'),
  valid_bs_n_seqs: batchSizes.valid_bs_n_seqs.describe('prompts per evaluation batch'),
  valid_greedy: z
    .boolean()
    .default(false)
    .describe('evaluate greedy answers; false: drawn as in training, always from the same seed'),
});

/** Options of prompts to train on. */
export type TrainPromptOptions = z.infer<typeof trainPromptOptions>;

const evaluationFrequencies = ['eval_freq_epochs', 'eval_freq_steps', 'eval_freq_secs'] as const;

type WithValid = CommonConfig & { dataset: { valid_path: string | null } };

/** Evaluation needs records, and a time. */
export function checkEvaluation(config: WithValid, report: Report): void {
  const asked = evaluationFrequencies.filter((key) => config.exp_ctrl[key] !== null);
  if (config.dataset.valid_path === null)
    for (const key of asked)
      report(['exp_ctrl', key], 'evaluation needs dataset.valid_path; set it or leave this out');
  else if (asked.length === 0)
    report(
      ['dataset', 'valid_path'],
      'nothing says when to evaluate; set exp_ctrl.eval_freq_epochs, _steps or _secs, or leave it out',
    );
}
