/** RLOO, ReMax, RAFT, SimPO and PPO with a moving reference learn a toy task each, with fixed seeds, on SwiftShader. */
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { useFolder, writeLines, writeModelDir } from '../e2e/tiny.js';
import { ppoEmaSchema } from '../options/schemas/ppo-ema.js';
import { raftSchema } from '../options/schemas/raft.js';
import { remaxSchema } from '../options/schemas/remax.js';
import { rlooSchema } from '../options/schemas/rloo.js';
import { simpoSchema } from '../options/schemas/simpo.js';
import { runPpoEma } from './ppo-ema.js';
import { runRaft } from './raft.js';
import { runRemax } from './remax.js';
import { runRloo } from './rloo.js';
import { runSimpo } from './simpo.js';
import { configOf, metricsOf, testContext, useDevice } from './test-run.js';

const dir = useFolder();
const device = useDevice();
const lm = writeModelDir(join(dir, 'lm'));
const texts = ['a', 'the dog', 'some bird is', 'no', 'one horse', 'it is', 'here we go', 'cats'];
const prompts = writeLines(
  join(dir, 'prompts.jsonl'),
  Array.from({ length: 16 }, (_, i) => ({ id: `r${i}`, prompt: texts[i % texts.length]! })),
);
const common = (name: string, trial: string) => [
  `fileroot=${join(dir, 'runs')}`,
  `experiment_name=${name}`,
  `trial_name=${trial}`,
];
const scratch = (...roles: string[]) =>
  roles.flatMap((role) => [`${role}.init_from_scratch=true`, `${role}.config=${lm}`]);
const data = [`dataset.path=${prompts}`, 'dataset.train_bs_n_seqs=4', 'dataset.max_prompt_len=16'];
/** Unfiltered: top_p would leave a sharp policy one token. */
const gen = (prefix: string) =>
  ['max_new_tokens=6', 'min_new_tokens=1', 'top_p=1'].map((w) => `${prefix}${w}`);

const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
/** How far a stat of the last four steps is above that of the first four. */
const gain = (steps: readonly Record<string, number>[], name = 'task_reward') => {
  const xs = steps.map((s) => s[name]!);
  return mean(xs.slice(-4)) - mean(xs.slice(0, 4));
};

describe('real rloo', () => {
  const words = (trial: string, ...more: string[]) => [
    ...common('rloo', trial),
    ...scratch('actor', 'ref', 'rew'),
    ...data,
    ...gen('ppo.gen.'),
    'group_size=8',
    'actor.optimizer.lr=0.02',
    'ppo.kl_ctl=0.01',
    'exp_ctrl.total_train_epochs=4',
    ...more,
  ];
  const run = async (trial: string, ...more: string[]) =>
    metricsOf(
      (await runRloo(configOf(rlooSchema, words(trial, ...more)), testContext(), device())).path,
      'actor_train',
    );

  it('raises the reward', async () => {
    const steps = await run('learns');
    expect(steps).toHaveLength(16);
    expect(steps[0]!.importance_weight).toBeCloseTo(1, 5);
    const spread = mean(steps.slice(0, 4).map((s) => s.group_std!));
    expect(gain(steps)).toBeGreaterThan(spread);
    expect(steps.at(-1)!.kl).toBeGreaterThan(0.1);
  });

  it('both forms take the same first step; without a KL there is no reference', async () => {
    const few = ['exp_ctrl.benchmark_steps=2', 'ppo.kl_ctl=0'];
    const [one, two] = [
      await run('a', ...few),
      await run('b', ...few, 'ppo.policy_loss=clip', 'actor_train.n_mbs=2'),
    ];
    expect(one[0]!.kl).toBeUndefined();
    expect(two[0]!.grad_norm).toBeCloseTo(one[0]!.grad_norm!, 4);
    expect(two[1]!.task_reward).toBeCloseTo(one[1]!.task_reward!, 4);
  });
});

it('real remax raises the reward of sampled and greedy answers', async () => {
  const config = configOf(remaxSchema, [
    ...common('remax', 'learns'),
    ...scratch('actor', 'rew'),
    ...data,
    ...gen('gen.'),
    'dataset.train_bs_n_seqs=16',
    'actor.optimizer.lr=0.02',
    'exp_ctrl.total_train_epochs=16',
  ]);
  const { path } = await runRemax(config, testContext(), device());
  const steps = metricsOf(path, 'actor_train');
  expect(steps).toHaveLength(16);
  expect(gain(steps)).toBeGreaterThan(0.5);
  expect(gain(steps, 'greedy_reward')).toBeGreaterThan(0.5);
});

it('real raft raises the mean towards the best', async () => {
  const config = configOf(raftSchema, [
    ...common('raft', 'learns'),
    ...scratch('actor', 'rew'),
    ...data,
    ...gen('gen.'),
    'group_size=8',
    'dataset.train_bs_n_seqs=16',
    'ppo_n_minibatches=2',
    'actor.optimizer.lr=0.02',
    'exp_ctrl.total_train_epochs=6',
  ]);
  const { path } = await runRaft(config, testContext(), device());
  const steps = metricsOf(path, 'actor_train');
  expect(steps).toHaveLength(6);
  for (const s of steps) expect(s.best_reward).toBeGreaterThanOrEqual(s.task_reward!);
  expect(mean(steps.slice(-2).map((s) => s.task_reward!))).toBeGreaterThan(steps[0]!.best_reward!);
});

it('real simpo learns which answer is the better one', async () => {
  const records = Array.from({ length: 24 }, (_, i) => ({
    id: `r${i}`,
    prompt: texts[i % texts.length]!,
    pos_answers: [' sleeps.', ' sings.'].slice(i % 2),
    neg_answers: [' eats a lot.', ' is here again.'].slice(i % 2),
  }));
  const config = configOf(simpoSchema, [
    ...common('simpo', 'learns'),
    ...scratch('actor'),
    `dataset.train_path=${writeLines(join(dir, 'pairs.jsonl'), records)}`,
    'dataset.train_bs_n_seqs=6',
    'actor.optimizer.lr=0.003',
    'exp_ctrl.total_train_epochs=4',
  ]);
  const { path } = await runSimpo(config, testContext(), device());
  const steps = metricsOf(path, 'actor_train');
  expect(steps).toHaveLength(16);
  expect(steps.at(-1)!.acc).toBe(1);
  expect(steps.at(-1)!.margin).toBeGreaterThan(1);
  expect(steps.at(-1)!.loss).toBeLessThan(0.6 * steps[0]!.loss!);
});

describe('real ppo-ema', () => {
  const words = (trial: string, ...more: string[]) => [
    ...common('ppo-ema', trial),
    ...scratch('actor', 'critic', 'ref', 'rew'),
    ...data,
    ...gen('ppo.gen.'),
    'ppo.ppo_n_minibatches=2',
    'actor.optimizer.lr=0.02',
    'critic.optimizer.lr=0.01',
    ...more,
  ];
  const run = async (trial: string, ...more: string[]) =>
    metricsOf(
      (await runPpoEma(configOf(ppoEmaSchema, words(trial, ...more)), testContext(), device()))
        .path,
      'actor_train',
    );

  it('learns to end its answers, for only those have a score, here of about 2', async () => {
    const steps = await run(
      'learns',
      'dataset.train_bs_n_seqs=16',
      'ppo.kl_ctl=0.01',
      'ppo.reward_output_bias=-2',
      'exp_ctrl.total_train_epochs=10',
    );
    const cut = steps.map((s) => s.no_eos_ratio!);
    expect(cut[0]).toBeGreaterThan(0.6);
    expect(mean(cut.slice(-4))).toBeLessThan(0.3);
    // A reference that follows by a thousandth a step is far behind.
    expect(steps.at(-1)!.kl).toBeGreaterThan(0.1);
  });

  it('with eta = 1 the reference is the actor before each step', async () => {
    const steps = await run('follows', 'ref_ema_eta=1', 'exp_ctrl.total_train_epochs=1');
    for (const s of steps) expect(Math.abs(s.kl!)).toBeLessThan(1e-5);
  });

  it('a resumed run goes on with the reference that it had', async () => {
    const options = ['ref_ema_eta=0.3', 'recover_mode=auto', 'exp_ctrl.save_freq_steps=1'];
    const whole = await run('whole', ...options, 'exp_ctrl.benchmark_steps=4');
    await run('cut', ...options, 'exp_ctrl.benchmark_steps=2');
    const cut = await run('cut', ...options, 'exp_ctrl.benchmark_steps=4');
    expect(cut).toHaveLength(4);
    for (const name of ['loss', 'kl', 'task_reward', 'grad_norm'])
      expect(cut.map((s) => s[name])).toEqual(whole.map((s) => s[name]));
  });
});
