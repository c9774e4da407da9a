/**
 * GRPO (Shao et al. 2024, arXiv 2402.03300) written by oneself, loss and loop: four answers to a prompt, each judged
 * against the mean of the four, and the clipped ratio, over two epochs of each batch.
 *
 * In this repository: npm run example custom/grpo
 */
import type { Loss } from '@realhf/api';

import { answer, mean, openEngine, rewards, withAdvantages } from './letters.js';

const group = 4;
const steps = 12;
const clip = 0.2;

/** −min(r·A, clip(r)·A), a mean over sampled tokens; r is the ratio of a token's probability now and when it was drawn. */
const clippedLoss: Loss = {
  name: 'my-grpo',
  weight: (sample) => sample.u8('prompt_mask').reduce((n, isPrompt) => n + (isPrompt ? 0 : 1), 0),
  compute({ sample, cuSeqlens, logProbs = new Float32Array(), totalWeight }) {
    const isPrompt = sample.u8('prompt_mask');
    const advantages = sample.f32('advantages');
    const old = sample.f32('packed_logprobs');
    const dLogProbs = new Float32Array(logProbs.length);
    let loss = 0;
    // Sequence s of L tokens has L − 1 log-probs: its first token is given.
    for (let s = 0, j = 0; s + 1 < cuSeqlens.length; s++) {
      for (let t = cuSeqlens[s]! + 1; t < cuSeqlens[s + 1]!; t++, j++) {
        if (isPrompt[t]) continue;
        const advantage = advantages[j]!;
        const ratio = Math.exp(logProbs[j]! - old[j]!);
        const plain = ratio * advantage;
        const clipped = Math.min(Math.max(ratio, 1 - clip), 1 + clip) * advantage;
        loss -= Math.min(plain, clipped);
        if (plain <= clipped) dLogProbs[j] = -plain / totalWeight;
      }
    }
    return { loss: loss / totalWeight, dLogProbs };
  },
};

/** (reward − mean) / deviation, within each group. */
function judged(all: readonly number[]): number[] {
  return all.map((reward, i) => {
    const first = i - (i % group);
    const others = all.slice(first, first + group);
    const center = mean(others);
    const deviation = Math.sqrt(mean(others.map((x) => (x - center) ** 2)));
    return (reward - center) / (deviation + 1e-4);
  });
}

const engine = await openEngine(2 * steps, 1e-2);
for (let step = 0; step < steps; step++) {
  const answers = await answer(engine, { times: group, greedy: false, seed: step });
  const scores = rewards(answers);
  const sample = withAdvantages(answers, judged(scores));
  for (let epoch = 0; epoch < 2; epoch++)
    await engine.trainBatch(sample, clippedLoss, { versionSteps: 2 * step + epoch });
  console.log(`step ${step + 1} reward ${mean(scores).toFixed(3)}`);
}
engine.network.ops.destroy();
