/** A reward function in a user's file, on worker threads: a batch is cut over them. */
import { RealError } from '@realhf/api';
import type { RewardBatch, RewardSource } from '@realhf/model';

import { ThreadPool, UserCodeError } from '../user-code/thread-pool.js';

export interface FunctionRewardOptions {
  /** Absolute path; it exports `reward`, or has a default export. */
  readonly file: string;
  readonly weight: number;
  readonly threads: number;
  readonly timeoutMs: number;
}

/** Entries begin ≤ i < end of every list. */
export function sliceBatch(batch: RewardBatch, begin: number, end: number): RewardBatch {
  return {
    ids: batch.ids.slice(begin, end),
    prompts: batch.prompts.slice(begin, end),
    completions: batch.completions.slice(begin, end),
    promptTokens: batch.promptTokens.slice(begin, end),
    completionTokens: batch.completionTokens.slice(begin, end),
    records: batch.records.slice(begin, end),
  };
}

/** `score` throws RealError that names the file and, where it can be told, the id. */
export function functionReward(o: FunctionRewardOptions): RewardSource {
  const { file, threads, timeoutMs, weight } = o;
  const pool = new ThreadPool({ file, names: ['reward'], threads, timeoutMs });
  const part = async (batch: RewardBatch): Promise<number[]> => {
    let got: unknown;
    try {
      got = await pool.call('reward', batch, true);
    } catch (e) {
      if (!(e instanceof UserCodeError)) throw e;
      const id = e.index === undefined ? undefined : batch.ids[e.index];
      const whose =
        id === undefined ? `ids '${batch.ids.slice(0, 3).join("', '")}' and others` : `id '${id}'`;
      throw new RealError(`the reward of ${whose}: ${e.message}`, { cause: e });
    }
    if (!isList(got) || got.length !== batch.ids.length)
      throw new RealError(
        `${file} returned ${isList(got) ? `${got.length} values` : typeof got} for ${batch.ids.length} answers; one number per answer is needed`,
      );
    return Array.from(got);
  };
  return {
    name: file,
    weight,
    async score(batch) {
      const n = batch.ids.length;
      const parts = Math.min(threads, n);
      const cut = (i: number) => Math.floor((i * n) / parts);
      const scores = await Promise.all(
        Array.from({ length: parts }, (_, i) => part(sliceBatch(batch, cut(i), cut(i + 1)))),
      );
      return scores.flat();
    },
  };
}

function isList(value: unknown): value is ArrayLike<number> {
  return Array.isArray(value) || value instanceof Float32Array || value instanceof Float64Array;
}
