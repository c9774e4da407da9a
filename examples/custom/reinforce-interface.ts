/**
 * The loss and the interface of reinforce.ts. A loss is a pure function from log-probs, and whatever the sample carries, to
 * a number and its gradient in the log-probs; an interface says what the calls on a model do.
 */
import {
  generationSchema,
  interfaces,
  SequenceSample,
  type Loss,
  type Model,
  type ModelInterface,
  type TrainEngine,
} from '@realhf/api';
import { rollout } from '@realhf/model';
import type { z } from 'zod';

/** −advantage · log p, a mean over sampled tokens. `advantages` and `prompt_mask` come with the sample. */
const reinforceLoss: Loss = {
  name: 'reinforce',
  weight: (sample) => sample.u8('prompt_mask').reduce((n, prompt) => n + (prompt ? 0 : 1), 0),
  compute({ sample, cuSeqlens, logProbs = new Float32Array(), totalWeight }) {
    const prompt = sample.u8('prompt_mask');
    const advantages = sample.f32('advantages');
    const dLogProbs = new Float32Array(logProbs.length);
    let loss = 0;
    // Sequence s of L tokens has L − 1 log-probs: its first token is given.
    for (let s = 0, j = 0; s + 1 < cuSeqlens.length; s++) {
      for (let t = cuSeqlens[s]! + 1; t < cuSeqlens[s + 1]!; t++, j++) {
        if (prompt[t]) continue;
        loss -= advantages[j]! * logProbs[j]!;
        dLogProbs[j] = -advantages[j]! / totalWeight;
      }
    }
    return { loss: loss / totalWeight, dLogProbs };
  },
};

class ReinforceInterface implements ModelInterface {
  private readonly gen: z.infer<typeof generationSchema>;

  constructor(args: Readonly<Record<string, unknown>>) {
    this.gen = generationSchema.parse(args);
  }

  async generate({ engine, tokenizer, seed, version }: Model, input: SequenceSample) {
    const { eosTokenId, padTokenId } = tokenizer;
    // Draws depend on the step too, else the same prompt would always get the same answer.
    const options = { eosTokenId, padTokenId, seed: seed + version.globalStep };
    return rollout(input, await engine.generate(input, this.gen, options), { logitsMask: false });
  }

  trainStep({ engine, version }: Model, input: SequenceSample) {
    const rewards = input.f32('rewards');
    const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
    const lengths = input.lengths('packed_input_ids');
    const advantages = lengths.flatMap((l, s) => Array<number>(l - 1).fill(rewards[s]! - mean));
    const more = SequenceSample.fromDefault({
      ids: input.ids,
      seqlens: lengths,
      data: { advantages: Float32Array.from(advantages) },
    });
    more.update(input);
    const versionSteps = version.globalStep;
    return (engine as TrainEngine)
      .trainBatch(more, reinforceLoss, { versionSteps })
      .then((stats) => ({ ...stats, task_reward: mean }));
  }
}
interfaces.register('my_reinforce', (args) => new ReinforceInterface(args));
