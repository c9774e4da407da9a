/** Answers of one model, or of two to the same prompts, and what the judge says of them. One model at a time is on the device. */
import {
  interfaces,
  modelName,
  SequenceSample,
  type Model,
  type Ops,
  type Tokenizer,
} from '@realhf/api';
import { NetworkEngine } from '@realhf/backends';

import { evalBatches } from '../data/batches.js';
import { promptDataset } from '../data/from-options.js';
import { requireOneVocabulary } from '../experiments/layout.js';
import { loadModel, roleConfig, roleText } from '../experiments/load-model.js';
import { frozenModelSchema } from '../options/schemas/model.js';
import { externalModel } from '../rewards/external-model.js';
import { externalReward, rewardRole } from '../rewards/external-reward.js';
import { registerAllInterfaces } from '../user-code/interfaces.js';
import { answerNumbers, answerPrompts } from './answers.js';
import { bootstrapMean, bootstrapRatio, type Interval } from './bootstrap.js';
import type { EvalConfig } from './options.js';

/** One model's answers, by prompt. */
export interface Judged {
  readonly reward: Interval;
  /** Mean of new tokens. */
  readonly len: number;
  readonly rewards: readonly number[];
  readonly answers: readonly string[];
}

export interface JudgeResult {
  readonly ids: readonly string[];
  readonly model: Judged;
  readonly against?: Judged;
  /** Of model against against; a tie is half a win. */
  readonly winRate?: Interval;
  readonly wins?: number;
  readonly ties?: number;
  /** Mean reward of model less that of against, prompt by prompt. */
  readonly gain?: Interval;
  /** Of model to against on model's answers, nats per token. */
  readonly kl?: Interval;
}

/** A win is 1, a tie ½. */
export function winsOf(a: readonly number[], b: readonly number[], tie: number): number[] {
  return a.map((x, i) => (Math.abs(x - b[i]!) <= tie ? 0.5 : x > b[i]! ? 1 : 0));
}

/** Throws DataError on a bad record, ConfigError on models of different vocabularies. */
export async function judge(config: EvalConfig, ops: Ops): Promise<JudgeResult> {
  registerAllInterfaces();
  const { dataset, gen, seed, resamples } = config;
  const own = frozenModelSchema.parse({ path: config.model });
  const { tokenizer, limits } = await roleText(own, 'model');
  const other =
    config.against === null ? undefined : frozenModelSchema.parse({ path: config.against });
  const rewarder = rewardRole({ ...config, actor: own });
  const asRole = { role: 'against', key: 'against', isCritic: false, seed };
  await requireOneVocabulary(limits.vocabSize, [
    ...(other ? [{ ...asRole, options: other }] : []),
    ...(rewarder.external ? [] : [rewarder]),
  ]);
  const prompts = await promptDataset(
    { ...dataset, train_bs_n_seqs: 1, pad_to_max_length: false },
    tokenizer,
    { ...limits, newTokens: gen.max_new_tokens, newTokensOption: 'gen.max_new_tokens' },
  );
  const batches = evalBatches(prompts.items(), dataset.valid_bs_n_seqs);
  const how = { gen, greedy: false, seed };
  const answersOf = async (model: Model) => {
    const all: SequenceSample[] = [];
    for (const batch of batches) all.push(await answerPrompts(model, batch, how));
    return all;
  };
  const mine = await withModel({ ops, tokenizer, seed }, own, answersOf);
  const logRatios: number[] = [];
  const theirs =
    other &&
    (await withModel({ ops, tokenizer, seed }, other, async (model) => {
      for (const batch of mine)
        logRatios.push(...((await answerNumbers(batch, how, model)).logRatios ?? []));
      return answersOf(model);
    }));
  const external = externalReward(config, {});
  const { type_: type, args } = external ?? { type_: 'paired_rw', args: {} };
  const interface_ = interfaces.get(type)(args);
  const judged = async (model: Model, samples: readonly SequenceSample[]): Promise<Judged> => {
    const rewards: number[] = [];
    for (const s of samples)
      rewards.push(...(await interface_.inference!(model, s, {})).f32('rewards'));
    const lengths = await lengthsOf(samples, how);
    const len = lengths.reduce((a, b) => a + b, 0) / lengths.length;
    const reward = bootstrapMean(rewards, { seed, resamples });
    return { reward, len, rewards, answers: samples.flatMap((s) => textsOf(s, tokenizer)) };
  };
  const both = async (model: Model) => ({
    model: await judged(model, mine),
    ...(theirs ? { against: await judged(model, theirs) } : {}),
  });
  const of = { ops, tokenizer, seed: rewarder.seed };
  const { model, against } = rewarder.external
    ? await both(
        externalModel(
          modelName('reward'),
          { tokenizer, config: { seed } },
          await roleConfig(own, 'model', false),
        ),
      )
    : await withModel(of, rewarder.options, both, true);
  const ids = batches.flatMap((b) => b.ids);
  if (!against) return { ids, model };
  const wins = winsOf(model.rewards, against.rewards, config.tie);
  return {
    ids,
    model,
    against,
    winRate: bootstrapMean(wins, { seed, resamples }),
    wins: wins.filter((w) => w === 1).length,
    ties: wins.filter((w) => w === 0.5).length,
    gain: bootstrapMean(
      model.rewards.map((r, i) => r - against.rewards[i]!),
      { seed, resamples },
    ),
    kl: bootstrapRatio(logRatios, await lengthsOf(mine, how), { seed, resamples }),
  };
}

interface Site {
  readonly ops: Ops;
  readonly tokenizer: Tokenizer;
  readonly seed: number;
}

/** Loads a model for a while. */
export async function withModel<T>(
  { ops, tokenizer, seed }: Site,
  options: ReturnType<typeof frozenModelSchema.parse>,
  use: (model: Model) => Promise<T>,
  isCritic = false,
): Promise<T> {
  const role = isCritic ? 'rew' : 'model';
  const { model } = await loadModel(ops, { role, options, isCritic, seed });
  const version = { epoch: 0, epochStep: 0, globalStep: 0 };
  try {
    const engine = new NetworkEngine(model);
    return await use({ name: modelName(role), engine, tokenizer, version, seed });
  } finally {
    model.free();
  }
}

async function lengthsOf(
  samples: readonly SequenceSample[],
  how: Parameters<typeof answerNumbers>[1],
): Promise<number[]> {
  const all: number[] = [];
  for (const s of samples) all.push(...(await answerNumbers(s, how)).lengths);
  return all;
}

/** What follows the prompts. */
function textsOf(sample: SequenceSample, tokenizer: Tokenizer): string[] {
  const tokens = sample.i32('packed_input_ids');
  const prompt = sample.u8('prompt_mask');
  const cu = sample.cuSeqlens('packed_input_ids');
  return sample.ids.map((_, s) => {
    const range = tokens.subarray(cu[s], cu[s + 1]);
    const answer = range.filter((_t, i) => !prompt[cu[s]! + i]);
    return tokenizer.decode([...answer].filter((t) => t !== tokenizer.eosTokenId));
  });
}
