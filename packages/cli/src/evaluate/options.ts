/** Options of `real eval`; those of models, rewards and generation have the names of the training commands. */
import { generationSchema } from '@realhf/api';
import { z } from 'zod';

import { checks, commonShape, type Report } from '../options/schemas/common.js';
import { promptAnswerOptions, promptOptions } from '../options/schemas/dataset.js';
import { frozenModelSchema } from '../options/schemas/model.js';
import { checkReward, listOf, rewardSchema } from '../rewards/options.js';

const evalObject = z.object({
  model: z.string().min(1).describe('directory of the model, in Hugging Face layout'),
  against: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('directory of a model that answers the same prompts; with a judge: win rate'),
  rew: frozenModelSchema
    .prefault({})
    .describe('the reward model that judges; without any judge: perplexity'),
  reward: rewardSchema.prefault({}).describe('judges from code or a service'),
  dataset: promptOptions
    .omit({ train_bs_n_seqs: true, pad_to_max_length: true })
    .extend({
      fields: promptAnswerOptions.shape.fields,
      max_seqlen: promptAnswerOptions.shape.max_seqlen,
      valid_bs_n_seqs: promptAnswerOptions.shape.valid_bs_n_seqs,
    })
    .describe('prompts for a judge; prompts and answers for perplexity'),
  gen: generationSchema.prefault({}).describe('generation, for a judge'),
  tie: z
    .number()
    .nonnegative()
    .default(0)
    .describe('rewards that differ by no more are a tie: half a win'),
  resamples: z.number().int().positive().default(10_000).describe('of the bootstrap over prompts'),
  seed: commonShape.seed.unwrap().default(1).describe('of sampling and of the bootstrap'),
  matmul_precision: commonShape.matmul_precision,
  deterministic: commonShape.deterministic,
  out: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('JSON file for the numbers and every answer; null: none'),
});
export type EvalConfig = z.infer<typeof evalObject>;

/** Whether something judges answers. */
export const hasJudge = ({ rew, reward }: Pick<EvalConfig, 'rew' | 'reward'>): boolean =>
  rew.path !== null ||
  rew.init_from_scratch ||
  listOf(reward.fn).length + listOf(reward.url).length > 0;

export const evalSchema = evalObject.superRefine(
  checks<EvalConfig>((config, report: Report) => {
    if (hasJudge(config)) checkReward(config, report);
  }),
);
