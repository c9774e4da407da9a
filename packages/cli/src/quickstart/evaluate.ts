/** Before and after on held-out prompts, scored by VADER, which training never used. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Ops, Tokenizer } from '@realhf/api';

import { pairedBootstrap, type Interval } from '../evaluate/bootstrap.js';
import { continueTexts, klPerToken, openModel, rewardsOf, type Prompt } from './sample-texts.js';
import { distinctNgrams, vaderScore } from './score.js';

export interface Sampled {
  readonly id: string;
  readonly prompt: string;
  readonly before: string;
  readonly after: string;
  readonly scoreBefore: number;
  readonly scoreAfter: number;
}

export interface Evaluation {
  readonly samples: readonly Sampled[];
  readonly scoreBefore: number;
  readonly scoreAfter: number;
  readonly gain: Interval;
  readonly rewardBefore: number;
  readonly rewardAfter: number;
  readonly klPerToken: number;
  /** Distinct 4-grams after over before. */
  readonly distinct4Ratio: number;
}

const mean = (xs: ArrayLike<number>) => Array.from(xs).reduce((a, b) => a + b, 0) / xs.length;

export interface EvaluateOptions {
  readonly ops: Ops;
  readonly tokenizer: Tokenizer;
  readonly prompts: readonly Prompt[];
  /** Hugging Face directories. */
  readonly sft: string;
  readonly actor: string;
  readonly reward: string;
  /** Of the reward model's output on SFT samples: rewards are shown as PPO saw them. */
  readonly score: { readonly mean: number; readonly std: number };
  readonly seed: number;
}

export async function evaluate(o: EvaluateOptions): Promise<Evaluation> {
  const [sft, actor, reward] = [
    await openModel(o.ops, o.sft),
    await openModel(o.ops, o.actor),
    await openModel(o.ops, o.reward, true),
  ];
  const before = await continueTexts(sft, o.tokenizer, o.prompts, o.seed);
  const after = await continueTexts(actor, o.tokenizer, o.prompts, o.seed);
  const normalized = async (c: typeof before) =>
    (mean(await rewardsOf(reward, c.sample)) - o.score.mean) / o.score.std;
  const rewardBefore = await normalized(before);
  const rewardAfter = await normalized(after);
  const kl = await klPerToken(sft, after.sample);
  for (const m of [sft, actor, reward]) m.free();
  const samples = o.prompts.map((p, i) => ({
    id: p.id,
    prompt: p.prompt,
    before: before.texts[i]!,
    after: after.texts[i]!,
    scoreBefore: vaderScore(before.texts[i]!),
    scoreAfter: vaderScore(after.texts[i]!),
  }));
  const scores = {
    before: samples.map((s) => s.scoreBefore),
    after: samples.map((s) => s.scoreAfter),
  };
  return {
    samples,
    scoreBefore: mean(scores.before),
    scoreAfter: mean(scores.after),
    gain: pairedBootstrap(scores.before, scores.after, { seed: o.seed, resamples: 10000 }),
    rewardBefore,
    rewardAfter,
    klPerToken: kl,
    distinct4Ratio: distinctNgrams(after.texts, 4) / distinctNgrams(before.texts, 4),
  };
}

/** samples.jsonl: one line per held-out prompt. */
export function writeSamples(dir: string, samples: readonly Sampled[]): void {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'samples.jsonl'), samples.map((s) => `${JSON.stringify(s)}\n`).join(''));
}
