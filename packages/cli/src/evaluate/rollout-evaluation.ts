/**
 * Evaluation of a policy in training: it answers held-out prompts, the run's rewards judge the answers. Draws come from
 * the run's seed at every evaluation, so two evaluations differ by the weights alone. Intervals: `bootstrap.ts`.
 */
import {
  interfaces,
  modelKey,
  type GenerationHyperparameters,
  type ModelInterface,
} from '@realhf/api';

import type { TrainPromptOptions } from '../options/schemas/dataset.js';
import type { FrozenModelOptions } from '../options/schemas/model.js';
import { externalReward } from '../rewards/external-reward.js';
import type { RewardOptions } from '../rewards/options.js';
import { answerNumbers, answerPrompts } from './answers.js';
import { bootstrapMean } from './bootstrap.js';
import type { JointEvaluation } from './joint-evaluation.js';

export interface RolloutEvaluationOptions {
  readonly config: {
    readonly dataset: TrainPromptOptions;
    readonly reward: RewardOptions;
    readonly rew: FrozenModelOptions;
    readonly seed: number;
  };
  readonly gen: GenerationHyperparameters;
  /** Of `paired_rw`. */
  readonly rewardArgs: Readonly<Record<string, unknown>>;
  /** Role of the reference; absent: no KL. */
  readonly ref?: string;
}

/** Undefined without held-out prompts. Roles actor and reward; stats by the actor's key: reward with its 95 % interval, len, no_eos, kl in nats per token. */
export function rolloutEvaluation(o: RolloutEvaluationOptions): JointEvaluation | undefined {
  const { dataset, seed } = o.config;
  const { valid_path: path, valid_greedy: greedy } = dataset;
  if (path === null) return undefined;
  let judge: ModelInterface | undefined;
  return async (model, batches) => {
    judge ??= makeJudge(o, path);
    const actor = model('actor');
    const how = { gen: o.gen, greedy, seed };
    const rewards: number[] = [];
    let [tokens, unended, logRatio] = [0, 0, 0];
    for (const batch of batches) {
      const answers = await answerPrompts(actor, batch, how);
      const judged = await judge.inference!(model('reward'), answers, {});
      rewards.push(...judged.f32('rewards'));
      const numbers = await answerNumbers(
        answers,
        how,
        o.ref === undefined ? undefined : model(o.ref),
      );
      tokens += sum(numbers.lengths);
      unended += sum(numbers.noEos);
      logRatio += sum(numbers.logRatios ?? []);
    }
    const reward = bootstrapMean(rewards, { seed, resamples: 2000 });
    return {
      [modelKey(actor.name)]: {
        reward: reward.mean,
        reward_low: reward.low,
        reward_high: reward.high,
        len: tokens / rewards.length,
        no_eos: unended / rewards.length,
        ...(o.ref === undefined ? {} : { kl: logRatio / Math.max(1, tokens) }),
      },
    };
  };
}

const sum = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0);

/** The run's rewards; those from code find their records among the held-out prompts. */
function makeJudge({ config, rewardArgs }: RolloutEvaluationOptions, path: string): ModelInterface {
  const external = externalReward({ ...config, dataset: { ...config.dataset, path } }, rewardArgs);
  const { type_: type, args } = external ?? { type_: 'paired_rw', args: rewardArgs };
  return interfaces.get(type)(args);
}
