/**
 * An external scorer in place of a reward model: how positive an answer sounds, from −1 to 1, by the lexicon VADER
 * (Hutto and Gilbert 2014). No model `rew` is loaded; the file runs on worker threads.
 *
 * real ppo reward.fn=examples/custom/sentiment-reward.ts experiment_name=… and the options of real ppo but rew
 */
import type { RewardBatch } from '@realhf/model';
import { SentimentIntensityAnalyzer } from 'vader-sentiment';

export function reward({ prompts, completions }: RewardBatch): number[] {
  return completions.map(
    (text, i) => SentimentIntensityAnalyzer.polarity_scores(prompts[i]! + text).compound,
  );
}
