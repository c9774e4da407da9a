/** `reward.*`: where rewards come from besides, or instead of, a trained reward model. */
import { z } from 'zod';

import type { Report } from '../options/schemas/common.js';
import { checkModel, type FrozenModelOptions } from '../options/schemas/model.js';

const several = (what: string) =>
  z
    .union([z.array(z.string().min(1)), z.string().min(1)])
    .nullable()
    .default(null)
    .describe(what);

/** Schema of `reward`: functions or services that score answers. */
export const rewardSchema = z.object({
  fn: several(
    "file(s) that export `reward`, an async function from answers to numbers, run on threads: './my-reward.mts' or '[a.mts,b.mts]'",
  ),
  url: several('address(es) that take answers by POST as JSON and give numbers'),
  weights: z
    .array(z.number())
    .nullable()
    .default(null)
    .describe('factors of the sum: files, then addresses, then the model rew; null: all 1'),
  timeout_s: z.number().positive().default(60).describe('of one call, in seconds'),
  retries: z.number().int().nonnegative().default(4).describe('of a call to an address'),
  threads: z
    .number()
    .int()
    .positive()
    .default(1)
    .describe('worker threads of each file, which share a batch'),
});

/** Options of `reward`. */
export type RewardOptions = z.infer<typeof rewardSchema>;

/** An option that is one or several, as a list. */
export function listOf(option: string | readonly string[] | null): readonly string[] {
  return option === null ? [] : typeof option === 'string' ? [option] : option;
}

interface WithReward {
  readonly reward: RewardOptions;
  readonly rew: FrozenModelOptions;
}

/** Rewards come from a trained model too, or from nothing else. */
export function usesRewardModel({ reward, rew }: WithReward): boolean {
  const external = listOf(reward.fn).length + listOf(reward.url).length > 0;
  return !external || rew.path !== null || rew.init_from_scratch;
}

/** Sources, weights and the model `rew`, which is needed only without a source. */
export function checkReward(config: WithReward, report: Report): void {
  const { reward, rew } = config;
  const model = usesRewardModel(config);
  if (model) checkModel(rew, 'rew', true, report);
  const urls = listOf(reward.url);
  for (const url of urls)
    if (!/^https?:\/\//.test(url) || !URL.canParse(url))
      report(['reward', 'url'], `'${url}' is no http:// or https:// address`);
  const n = listOf(reward.fn).length + urls.length + (model ? 1 : 0);
  if (reward.weights && reward.weights.length !== n)
    report(
      ['reward', 'weights'],
      `${reward.weights.length} weights for ${n} sources (files, addresses, model rew); give one each`,
    );
}
