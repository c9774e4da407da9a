/** What a model can take, checked record by record before a run begins rather than at the step that meets it. */
import { DataError } from '@realhf/api';

import type { DataRecord } from './records/fields.js';

export interface ModelLimits {
  /** Tokens of a sequence at most (max_position_embeddings, n_positions). */
  readonly context: number;
  readonly vocabSize: number;
  /** Tokens that generation adds to a prompt. Default 0. */
  readonly newTokens?: number;
  /** The option that says so, for messages. Default `ppo.gen.max_new_tokens`. */
  readonly newTokensOption?: string;
}

/** Throws DataError naming file and line. */
export function checkLimits(
  record: DataRecord,
  tokens: Int32Array,
  limits: ModelLimits | undefined,
): void {
  if (!limits) return;
  const { context, vocabSize, newTokens = 0 } = limits;
  const option = limits.newTokensOption ?? 'ppo.gen.max_new_tokens';
  const outside = tokens.find((t) => t >= vocabSize);
  if (outside !== undefined)
    throw new DataError(
      `${record.where}: token ${outside} of the tokenizer is outside the model's vocabulary of ${vocabSize}; tokenizer.json and config.json are of different models`,
    );
  if (tokens.length + newTokens <= context) return;
  throw new DataError(
    newTokens > 0
      ? `${record.where}: the prompt has ${tokens.length} tokens and ${option} is ${newTokens}, together more than the model's context of ${context}; lower it, or leave out long prompts with dataset.max_prompt_len=${Math.max(1, context - newTokens)} dataset.skip_long_prompts=true`
      : `${record.where}: the sequence has ${tokens.length} tokens, the model's context is ${context}; cut long ones with dataset.max_seqlen=${context}`,
  );
}
