import { describe, expect, it } from 'vitest';

import { klTerm } from '../losses/kl.js';
import { expectClose } from '../losses/test-losses.js';
import { ppoOptionsSchema, type PpoOptions } from './options.js';
import { preparePpo } from './prepare.js';
import { packRollout, randomRollout } from './test-rollouts.js';

const options = (o: Partial<PpoOptions>) => ({
  ...ppoOptionsSchema.parse({ gen: { max_new_tokens: 8, min_new_tokens: 0 } }),
  adv_norm: false,
  ...o,
});
const seqs = randomRollout(12, 5);
const input = packRollout(seqs);
const prepare = (o: Partial<PpoOptions>) => preparePpo(input, options(o), 0.3, undefined);

describe('options of preparePpo', () => {
  it.each(['k1', 'k2', 'k3'] as const)('takes %s off the reward of every token', (estimator) => {
    const [kl, none] = [prepare({ kl_estimator: estimator }), prepare({ use_kl_in_reward: false })];
    // γ = λ = 1: an entry's return has the rewards from there to the end.
    const want = seqs.flatMap((s) => {
      const terms = s.old.map((p, j) =>
        j < s.prompt - 1 ? 0 : -0.3 * klTerm(p, s.ref[j]!, estimator)[0],
      );
      return terms.map((_, j) => terms.slice(j).reduce((a, b) => a + b, 0));
    });
    expectClose(
      kl.returns.map((r, j) => r - none.returns[j]!),
      want,
      1e-9,
      1e-9,
    );
    expect(none.stats.kl_reward).toBe(0);
    expect(none.stats.kl).toBe(kl.stats.kl);
  });

  it('masks cut answers for the policy alone, and whitens what is left', () => {
    const { sample, mask, policyMask } = prepare({
      mask_truncated_completions: true,
      adv_norm: true,
    });
    expect([...sample.u8('ppo_loss_mask')]).toEqual([...mask]);
    const whole = seqs.flatMap((s) => s.old.map((_, j) => +(j >= s.prompt - 1 && !s.truncated)));
    expect([...policyMask]).toEqual(whole);
    const advantages = [...sample.f32('advantages')].filter((_, j) => policyMask[j]);
    expectClose([advantages.reduce((a, b) => a + b, 0) / advantages.length], [0], 0, 1e-6);
  });
});
