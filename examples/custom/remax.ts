/**
 * ReMax (Li et al. 2023, arXiv 2310.10505) written by oneself, loss and loop: REINFORCE whose baseline for a prompt is the
 * reward of the greedy answer to it.
 *
 * In this repository: npm run example custom/remax
 */
import type { Loss } from '@realhf/api';

import { answer, mean, openEngine, rewards, withAdvantages } from './letters.js';

const times = 4;
const steps = 24;

/** −A · log p, a mean over sampled tokens. */
const reinforceLoss: Loss = {
  name: 'my-remax',
  weight: (sample) => sample.u8('prompt_mask').reduce((n, isPrompt) => n + (isPrompt ? 0 : 1), 0),
  compute({ sample, cuSeqlens, logProbs = new Float32Array(), totalWeight }) {
    const isPrompt = sample.u8('prompt_mask');
    const advantages = sample.f32('advantages');
    const dLogProbs = new Float32Array(logProbs.length);
    let loss = 0;
    // Sequence s of L tokens has L − 1 log-probs: its first token is given.
    for (let s = 0, j = 0; s + 1 < cuSeqlens.length; s++) {
      for (let t = cuSeqlens[s]! + 1; t < cuSeqlens[s + 1]!; t++, j++) {
        if (isPrompt[t]) continue;
        loss -= advantages[j]! * logProbs[j]!;
        dLogProbs[j] = -advantages[j]! / totalWeight;
      }
    }
    return { loss: loss / totalWeight, dLogProbs };
  },
};

const engine = await openEngine(steps, 2e-2);
for (let step = 0; step < steps; step++) {
  const sampled = await answer(engine, { times, greedy: false, seed: step });
  const baselines = rewards(await answer(engine, { times: 1, greedy: true, seed: step }));
  const scores = rewards(sampled);
  const advantages = scores.map((score, i) => score - baselines[Math.floor(i / times)]!);
  await engine.trainBatch(withAdvantages(sampled, advantages), reinforceLoss, {
    versionSteps: step,
  });
  console.log(`step ${step + 1} reward ${mean(scores).toFixed(3)}`);
}
engine.network.ops.destroy();
