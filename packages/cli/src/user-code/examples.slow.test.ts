/** examples/custom/* as their users run them: the real command as a process, tiny models, SwiftShader. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeAll, expect, it } from 'vitest';

import { ppoWords, writeInputs } from '../e2e/runs.js';
import { useReal } from '../e2e/real-process.js';
import { useFolder } from '../e2e/tiny.js';
import { metricsOf } from '../experiments/test-run.js';

const cwd = useFolder();
const start = useReal();
const example = (name: string) => join(import.meta.dirname, '../../../../examples/custom', name);
const run = (name: string) => join(cwd, 'real-runs', name, 'run');
const ended = async (...words: string[]) => {
  const real = start([...words, 'trial_name=run'], { cwd });
  expect(await real.ended, real.stderr).toBe(0);
};
const policy = [
  'actor.init_from_scratch=true',
  'actor.config=lm',
  'actor.optimizer.lr=0.02',
  'dataset.path=prompts.jsonl',
  'dataset.train_bs_n_seqs=12',
  'dataset.max_prompt_len=16',
];

beforeAll(() => {
  writeInputs(cwd);
});

it('ppo-ref-ema moves the reference after each update', async () => {
  const words = ppoWords.slice(2).filter((w) => !w.includes('minibatches'));
  const steps = ['exp_ctrl.benchmark_steps=2', 'experiment_name=ema', 'ppo.ppo_n_minibatches=1'];
  await ended('run', example('ppo-ref-ema.ts'), ...words, ...steps, 'eta=1');
  // With eta 1 the reference is the actor: nothing is ever between them.
  for (const stats of metricsOf(run('ema'), 'actor_train'))
    expect(Math.abs(stats.kl!)).toBeLessThan(1e-5);
});

it('sentiment-reward stands in for a reward model', async () => {
  const words = ppoWords.filter((w) => !w.startsWith('rew.') && !w.startsWith('experiment_name='));
  const steps = ['exp_ctrl.benchmark_steps=1', 'experiment_name=sentiment'];
  await ended(...words, ...steps, `reward.fn=${example('sentiment-reward.ts')}`);
  const [first] = metricsOf(run('sentiment'), 'actor_train');
  expect(Math.abs(first!.task_reward!)).toBeLessThanOrEqual(1);
});

it('reinforce, an algorithm of a user, raises its reward; on two workers too', async () => {
  const reward = join(cwd, 'many-a.mts');
  writeFileSync(
    reward,
    `import type { RewardBatch } from '@realhf/model';
     export const reward = ({ completions }: RewardBatch) =>
       completions.map((c) => c.split('a').length - 1);`,
  );
  const words = [
    'run',
    example('reinforce.ts'),
    ...policy,
    ...['gen.max_new_tokens=8', 'gen.min_new_tokens=8', `reward.fn=${reward}`],
  ];
  await ended(...words, 'experiment_name=one', 'exp_ctrl.total_train_epochs=10');
  const rewards = metricsOf(run('one'), 'actor_train').map((s) => s.task_reward!);
  expect(Math.max(...rewards.slice(-3))).toBeGreaterThan(rewards[0]! + 0.4);
  await ended(...words, 'experiment_name=two', 'exp_ctrl.benchmark_steps=2', 'n_gpus_per_node=2');
  const two = metricsOf(run('two'), 'actor_train').map((s) => s.task_reward!);
  expect(two[0]).toBeCloseTo(rewards[0]!, 5);
});

it('counting-dataset makes the prompts, of two workers too', async () => {
  const reward = join(cwd, 'number.mts');
  writeFileSync(reward, `export const reward = ({ records }) => records.map((r) => r.number);`);
  const words = [
    ...['grpo', ...policy.slice(0, 3), 'ppo.kl_ctl=0', 'group_size=2', `reward.fn=${reward}`],
    ...[`user_modules=[${example('counting-dataset.ts')}]`, 'dataset.type=counting'],
    ...['dataset.args.size=12', 'dataset.args.length=5', 'dataset.path=prompts.jsonl'],
    ...['dataset.train_bs_n_seqs=12', 'ppo.ppo_n_minibatches=1', 'exp_ctrl.benchmark_steps=1'],
    ...['ppo.gen.max_new_tokens=4', 'ppo.gen.min_new_tokens=4'],
  ];
  await ended(...words, 'experiment_name=counts');
  await ended(...words, 'experiment_name=counts-two', 'n_gpus_per_node=2');
  for (const name of ['counts', 'counts-two'])
    expect(metricsOf(run(name), 'actor_train')[0]).toMatchObject({
      avg_prompt_len: 5,
      task_reward: 5.5,
    });
});

it('calculator-env talks with the actor, and GRPO learns from what the actor said', async () => {
  const reward = join(cwd, 'turns.mts');
  writeFileSync(
    reward,
    `export const reward = ({ completions }) => completions.map((c) => c.length);`,
  );
  const env = join(cwd, 'says-no.mts');
  writeFileSync(
    env,
    `export const reset = ({ prompt, record }) => [prompt, record.prompt];
     export const step = ({ state, text }) => {
       if (state[0] !== state[1]) throw new Error('the record is of another prompt');
       return { state, observation: ' no.', done: text.includes('z') };
     };`,
  );
  const words = ['grpo', ...policy, 'ppo.kl_ctl=0', 'group_size=2'];
  const gen = ['ppo.gen.max_new_tokens=4', 'ppo.gen.min_new_tokens=4', 'ppo.ppo_n_minibatches=1'];
  const steps = ['exp_ctrl.benchmark_steps=1', `reward.fn=${reward}`];
  const talk = ['env.max_turns=3', 'env.max_observation_tokens=4'];
  await ended(...words, ...gen, ...steps, ...talk, `env.fn=${env}`, 'experiment_name=talk');
  const [talked] = metricsOf(run('talk'), 'actor_train');
  // 24 answers of 4 to 12 sampled tokens; what was said to them is in their lengths only.
  expect(talked!.n_tokens).toBeGreaterThan(24 * 4);
  expect(talked!.n_tokens).toBeLessThanOrEqual(24 * 12);
  expect(talked!.importance_weight).toBeCloseTo(1, 5);
  const calculator = [`env.fn=${example('calculator-env.ts')}`, 'experiment_name=calculator'];
  await ended(...words, ...gen, ...steps, ...talk, ...calculator);
  // Letters hold no sum: one turn each.
  expect(metricsOf(run('calculator'), 'actor_train')[0]!.n_tokens).toBe(24 * 4);
});
