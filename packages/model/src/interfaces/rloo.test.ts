import { SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { compute, expectClose } from '../losses/test-losses.js';
import { newLogProbs, randomItems, sampleOf } from '../losses/test-policy.js';
import { RlooInterface } from './rloo.js';
import { modelWith, ScriptedTrainEngine } from './test-engine.js';

const items = randomItems(4, 9);
/** What the calls before training made of `items`; all scores are 0 but the first of each group. */
function rollouts() {
  const prepared = sampleOf(items);
  const full = prepared.seqlens.packed_input_ids!;
  const prompt = items.flatMap((item) =>
    item.flatMap((a) => {
      const first = a.mask.indexOf(1);
      const n = first < 0 ? a.mask.length + 1 : first + 1;
      return Array.from({ length: a.mask.length + 1 }, (_, t) => +(t < n));
    }),
  );
  const one = items.map((item) => item.map(() => 1));
  const keys = ['rewards', 'seq_no_eos_mask', 'prompt_mask'];
  const sample = prepared.remapKeys({
    old_logp: 'packed_logprobs',
    ref_logp: 'packed_ref_logprobs',
  });
  sample.update(
    new SequenceSample({
      ids: sample.ids,
      seqlens: { rewards: one, seq_no_eos_mask: one, prompt_mask: full },
      data: {
        rewards: Float32Array.from(items.flatMap((item) => item.map((_, g) => +(g === 0)))),
        seq_no_eos_mask: new Uint8Array(one.flat().length),
        prompt_mask: Uint8Array.from(prompt),
      },
      dtypes: { rewards: 'f32', seq_no_eos_mask: 'u8', prompt_mask: 'u8' },
      trailingShapes: Object.fromEntries(keys.map((k) => [k, []])),
    }),
  );
  return sample;
}

async function lossOf(policy_loss: 'reinforce' | 'clip') {
  const e = new ScriptedTrainEngine({ stats: () => ({ loss: 1 }) });
  const held = new RlooInterface({ group_size: 2, policy_loss, kl_ctl: 0 });
  const stats = await held.trainStep(modelWith(e), rollouts(), {});
  const { loss, input } = e.calls[0]!;
  return { loss: loss!, input, stats };
}
const advantage = (item: number, g: number) => (g === 0 ? 1 : -1 / (items[item]!.length - 1));

describe('rloo', () => {
  it('reinforce: the mean over answers of −A times the log-prob of the whole answer', async () => {
    const { loss, input, stats } = await lossOf('reinforce');
    const logProbs = newLogProbs(items, 4);
    const out = compute(loss, input, { logProbs, entropy: logProbs });
    let s = 0;
    let n = 0;
    let sum = 0;
    items.forEach((item, i) => {
      item.forEach((a, g) => {
        const p = logProbs[s++]!;
        if (!a.mask.includes(1)) return;
        n++;
        sum -= advantage(i, g) * a.mask.reduce((x, m, j) => x + m * p[j]!, 0);
      });
    });
    expectClose([out.loss], [sum / n]);
    expect(stats).toMatchObject({ loss: 1 });
  });

  it('clip: the same gradient while the policy is the one that sampled', async () => {
    const old = items.flat().map((a) => [...a.old]);
    const [one, two] = [await lossOf('reinforce'), await lossOf('clip')];
    const gradient = (x: typeof one) =>
      compute(x.loss, x.input, { logProbs: old, entropy: old }).dLogProbs!;
    expectClose(gradient(two), gradient(one), 1e-5);
  });
});
