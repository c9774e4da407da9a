/** Evaluation on held-out data in tiny runs of the commands, on SwiftShader. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { useFolder, writeLines, writeModelDir } from '../e2e/tiny.js';
import { runDpo } from '../experiments/dpo.js';
import { runGrpo } from '../experiments/grpo.js';
import { runPpo } from '../experiments/ppo.js';
import { configOf, testContext, useDevice } from '../experiments/test-run.js';
import { dpoSchema } from '../options/schemas/dpo.js';
import { grpoSchema } from '../options/schemas/grpo.js';
import { ppoSchema } from '../options/schemas/ppo.js';

const dir = useFolder();
const device = useDevice();
const lm = writeModelDir(join(dir, 'lm'));
const texts = ['a', 'the dog', 'some bird is', 'no', 'one horse', 'it is'];
const prompts = (name: string, n: number) =>
  writeLines(
    join(dir, name),
    Array.from({ length: n }, (_, i) => ({ id: `${name}${i}`, prompt: texts[i % 6], bonus: i })),
  );
const common = (name: string) => [
  `fileroot=${join(dir, 'runs')}`,
  `experiment_name=${name}`,
  'trial_name=t',
  'exp_ctrl.eval_freq_steps=1',
];
const scratch = (...roles: string[]) =>
  roles.flatMap((role) => [`${role}.init_from_scratch=true`, `${role}.config=${lm}`]);
const data = [
  `dataset.path=${prompts('train.jsonl', 8)}`,
  `dataset.valid_path=${prompts('held.jsonl', 6)}`,
  'dataset.train_bs_n_seqs=4',
  'dataset.valid_bs_n_seqs=4',
  'dataset.max_prompt_len=16',
  ...['max_new_tokens=6', 'min_new_tokens=1', 'top_p=0.9'].map((w) => `ppo.gen.${w}`),
];
const line = z.object({
  eval: z.record(z.string(), z.record(z.string(), z.number())).optional(),
});
const evals = (path: string) =>
  readFileSync(join(path, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((l) => line.parse(JSON.parse(l)).eval?.['actor@0'] ?? {});

describe('evaluation on held-out prompts', () => {
  it('ppo: weights that stay give the same numbers at every step, and no KL', async () => {
    const words = [
      ...common('ppo'),
      ...scratch('actor', 'critic', 'ref', 'rew'),
      ...data,
      'actor.optimizer.lr=0',
      'ppo.ppo_n_minibatches=1',
    ];
    const context = testContext();
    const { path } = await runPpo(configOf(ppoSchema, words), context, device());
    const [first, second] = evals(path);
    expect(first).toEqual(second);
    expect(first!.kl).toBe(0);
    expect(first!.reward_low).toBeLessThan(first!.reward!);
    expect(first!.reward_high).toBeGreaterThan(first!.reward!);
    expect(first!.len).toBeGreaterThanOrEqual(1);
    expect(context.printed()).toMatch(/eval actor@0 at step 1: reward /);
  });

  it('grpo: a function of the user finds the held-out records, greedy answers', async () => {
    const file = join(dir, 'bonus.mts');
    writeFileSync(
      file,
      `export const reward = async ({ ids, records }: { ids: string[]; records: { bonus: number }[] }): Promise<number[]> =>
         ids.map((id, i) => records[i]!.bonus + (id.startsWith('held') ? 10 : 0));`,
    );
    const words = [
      ...common('grpo'),
      ...scratch('actor', 'ref'),
      ...data,
      `reward.fn=${file}`,
      'dataset.valid_greedy=true',
      'group_size=2',
      'actor.optimizer.lr=0.02',
      'exp_ctrl.benchmark_steps=1',
    ];
    const { path } = await runGrpo(configOf(grpoSchema, words), testContext(), device());
    const [only] = evals(path);
    expect(only!.reward).toBe(12.5);
    expect(only!.reward_low).toBeGreaterThanOrEqual(10);
    expect(only!.reward_high).toBeLessThanOrEqual(15);
  });
});

it('dpo: loss, accuracy and margin on held-out pairs', async () => {
  const pairs = (name: string) =>
    writeLines(
      join(dir, name),
      texts.map((prompt, i) => ({
        id: `r${i}`,
        prompt,
        pos_answers: [' sleeps.'],
        neg_answers: [' eats a lot.'],
      })),
    );
  const words = [
    ...common('dpo'),
    ...scratch('actor', 'ref'),
    `dataset.train_path=${pairs('pairs.jsonl')}`,
    `dataset.valid_path=${pairs('valid-pairs.jsonl')}`,
    'dataset.train_bs_n_seqs=2',
    'dataset.valid_bs_n_seqs=4',
    'actor.optimizer.lr=0.003',
    'exp_ctrl.total_train_epochs=2',
  ];
  const { path } = await runDpo(configOf(dpoSchema, words), testContext(), device());
  const all = evals(path);
  expect(all).toHaveLength(6);
  expect(all[5]!.loss).toBeLessThan(all[0]!.loss!);
  expect(all[5]!.margin).toBeGreaterThan(0);
  expect(all[5]!.acc).toBe(1);
});
