/** Perplexity of answers given their prompts, with an interval over records. */
import type { Model, Ops } from '@realhf/api';

import { openPromptAnswer } from '../data/from-options.js';
import { requireOneVocabulary } from '../experiments/layout.js';
import { roleText } from '../experiments/load-model.js';
import { frozenModelSchema } from '../options/schemas/model.js';
import { bootstrapRatio, type Interval } from './bootstrap.js';
import { withModel } from './judge.js';
import type { EvalConfig } from './options.js';

export interface PerplexityResult {
  readonly records: number;
  readonly tokens: number;
  /** exp of the mean over all answer tokens. */
  readonly perplexity: Interval;
  readonly against?: Interval;
  /** Perplexity of model over that of against, record by record. */
  readonly ratio?: Interval;
}

/** Throws DataError on a bad record. */
export async function perplexity(config: EvalConfig, ops: Ops): Promise<PerplexityResult> {
  const { dataset, seed, resamples } = config;
  const own = frozenModelSchema.parse({ path: config.model });
  const { tokenizer, limits } = await roleText(own, 'model');
  const { path, valid_bs_n_seqs: size } = dataset;
  const { valid: batches = [] } = await openPromptAnswer(
    {
      ...dataset,
      train_path: path,
      valid_path: path,
      train_bs_n_seqs: 1,
      valid_bs_n_seqs: size,
      pad_to_max_length: false,
    },
    tokenizer,
    seed,
    limits,
  );
  const counts: number[] = [];
  const measure = async ({ engine }: Model) => {
    const nlls: number[] = [];
    counts.length = 0;
    for (const batch of batches) {
      const logp = await engine.logProbs(batch);
      const prompt = batch.u8('prompt_mask');
      const cu = batch.cuSeqlens('packed_input_ids');
      for (let s = 0; s + 1 < cu.length; s++) {
        let [nll, n] = [0, 0];
        for (let t = cu[s]! + 1; t < cu[s + 1]!; t++) {
          if (prompt[t]) continue;
          nll -= logp[t - 1 - s]!;
          n++;
        }
        nlls.push(nll);
        counts.push(n);
      }
    }
    return nlls;
  };
  const exp = (a: readonly number[]): Interval => {
    const { mean, low, high } = bootstrapRatio(a, counts, { seed, resamples });
    return { mean: Math.exp(mean), low: Math.exp(low), high: Math.exp(high) };
  };
  const other =
    config.against === null ? undefined : frozenModelSchema.parse({ path: config.against });
  await requireOneVocabulary(
    limits.vocabSize,
    other ? [{ role: 'against', key: 'against', options: other, isCritic: false, seed }] : [],
  );
  const mine = await withModel({ ops, tokenizer, seed }, own, measure);
  const result = {
    records: counts.length,
    tokens: counts.reduce((a, b) => a + b, 0),
    perplexity: exp(mine),
  };
  if (!other) return result;
  // Of the same tokens: those of another tokenizer could not be compared one by one.
  const theirs = await withModel({ ops, tokenizer, seed }, other, measure);
  return { ...result, against: exp(theirs), ratio: exp(mine.map((x, i) => x - theirs[i]!)) };
}
