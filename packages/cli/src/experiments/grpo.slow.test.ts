import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { useFolder, writeLines, writeModelDir } from '../e2e/tiny.js';
import { grpoSchema } from '../options/schemas/grpo.js';
import { runGrpo } from './grpo.js';
import { configOf, metricsOf, testContext, useDevice } from './test-run.js';

const dir = useFolder();
const device = useDevice();
const lm = writeModelDir(join(dir, 'lm'));
/** Of 1 to 14 tokens. */
const texts = [
  'a',
  'the dog',
  'some bird is',
  'no',
  'one horse',
  'it is',
  'here we go now',
  'cats',
];
const records = Array.from({ length: 16 }, (_, i) => ({
  id: `r${i}`,
  prompt: texts[i % texts.length]!,
}));
const words = (trial: string, ...more: string[]) => [
  `fileroot=${join(dir, 'runs')}`,
  'experiment_name=grpo',
  `trial_name=${trial}`,
  ...['actor', 'ref', 'rew'].flatMap((role) => [
    `${role}.init_from_scratch=true`,
    `${role}.config=${lm}`,
  ]),
  `dataset.path=${writeLines(join(dir, 'prompts.jsonl'), records)}`,
  'dataset.train_bs_n_seqs=4',
  'dataset.max_prompt_len=16',
  'ppo.gen.max_new_tokens=6',
  'ppo.gen.min_new_tokens=1',
  'ppo.ppo_n_minibatches=1',
  'ppo.kl_ctl=0.02',
  'actor.optimizer.lr=0.003',
  ...more,
];
const run = async (trial: string, ...more: string[]) => {
  const config = configOf(grpoSchema, words(trial, ...more));
  return metricsOf((await runGrpo(config, testContext(), device())).path, 'actor_train');
};
const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;

describe('real grpo', () => {
  it('raises the reward of a frozen reward model', async () => {
    // Unfiltered: top_p would leave a sharp policy one token, and a KL of 0 over it.
    const steps = await run(
      'learns',
      'exp_ctrl.total_train_epochs=4',
      'group_size=8',
      'actor.optimizer.lr=0.02',
      'ppo.kl_ctl=0.01',
      'ppo.gen.top_p=1',
    );
    expect(steps).toHaveLength(16);
    const reward = steps.map((s) => s.task_reward!);
    const spread = mean(steps.slice(0, 4).map((s) => s.group_std!));
    expect(mean(reward.slice(-4)) - mean(reward.slice(0, 4))).toBeGreaterThan(spread);
    expect(steps.at(-1)!.kl).toBeGreaterThan(0.1);
  });

  it('defect 8: with prompts of unequal lengths the first step finds the sampled log-probs again', async () => {
    const [first] = await run('first', 'exp_ctrl.benchmark_steps=1', 'ppo.gen.temperature=0.8');
    expect(first!.n_seqs).toBe(16);
    expect(first!.importance_weight).toBeCloseTo(1, 6);
    expect(Math.abs(first!.ppo_approx_kl!)).toBeLessThan(1e-6);
    // The reference is the actor: it gives the same log-probs, in another order of microbatches too.
    expect(Math.abs(first!.kl!)).toBeLessThan(1e-6);
    expect(first!.kl_loss).toBeLessThan(1e-9);
  });

  it.each(['token', 'sequence'])('microbatches change no number, averaged by %s', async (by) => {
    const steps = ['exp_ctrl.benchmark_steps=2', `loss_averaging=${by}`];
    const one = await run(`one-${by}`, ...steps);
    const mbs = ['actor_gen.n_mbs=3', 'rew_inf.n_mbs=2', 'ref_inf.n_mbs=4', 'actor_train.n_mbs=3'];
    const cut = await run(`cut-${by}`, ...steps, ...mbs);
    cut.forEach((stats, i) => {
      for (const name of ['loss', 'task_reward', 'group_std', 'grad_norm', 'entropy', 'n_tokens'])
        expect(stats[name], `${name} of step ${i + 1}`).toBeCloseTo(one[i]![name]!, 4);
    });
  });

  it('refuses a group of one', () => {
    expect(() => configOf(grpoSchema, words('bad', 'group_size=1'))).toThrow(/'group_size'/);
  });
});
