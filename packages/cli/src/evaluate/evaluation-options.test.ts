import { describe, expect, it } from 'vitest';

import { configOf } from '../experiments/test-run.js';
import { dpoSchema } from '../options/schemas/dpo.js';
import { grpoSchema } from '../options/schemas/grpo.js';
import { ppoEmaSchema } from '../options/schemas/ppo-ema.js';
import { ppoSchema } from '../options/schemas/ppo.js';
import { raftSchema } from '../options/schemas/raft.js';
import { remaxSchema } from '../options/schemas/remax.js';
import { rlooSchema } from '../options/schemas/rloo.js';
import { simpoSchema } from '../options/schemas/simpo.js';
import { bootstrapRatio } from './bootstrap.js';
import { evalSchema, hasJudge } from './options.js';

const paths = (...roles: string[]) => ['experiment_name=x', ...roles.map((r) => `${r}.path=m`)];
const generating = [
  ['ppo', ppoSchema, paths('actor', 'critic', 'ref', 'rew')],
  ['ppo-ema', ppoEmaSchema, paths('actor', 'critic', 'ref', 'rew')],
  ['grpo', grpoSchema, paths('actor', 'ref', 'rew')],
  ['rloo', rlooSchema, paths('actor', 'ref', 'rew')],
  ['remax', remaxSchema, paths('actor', 'rew')],
  ['raft', raftSchema, paths('actor', 'rew')],
] as const;
const pairs = [
  ['dpo', dpoSchema, paths('actor', 'ref')],
  ['simpo', simpoSchema, paths('actor')],
] as const;
const all = [
  ...generating.map(
    ([name, schema, words]) => [name, schema, [...words, 'dataset.path=d']] as const,
  ),
  ...pairs.map(
    ([name, schema, words]) => [name, schema, [...words, 'dataset.train_path=d']] as const,
  ),
];

describe.each(all)('evaluation options of %s', (_, schema, words) => {
  const parse = (...more: string[]) => configOf(schema, [...words, ...more]);

  it('need each other', () => {
    expect(() => parse('dataset.valid_path=v', 'exp_ctrl.eval_freq_steps=2')).not.toThrow();
    expect(() => parse('dataset.valid_path=v')).toThrow('nothing says when to evaluate');
    expect(() => parse('exp_ctrl.eval_freq_secs=2')).toThrow('evaluation needs dataset.valid_path');
  });
});

it('real eval judges with whatever there is, and measures perplexity with nothing', () => {
  const of = (...more: string[]) =>
    hasJudge(configOf(evalSchema, ['model=m', 'dataset.path=d', ...more]));
  expect(of()).toBe(false);
  expect(of('rew.path=r')).toBe(true);
  expect(of('reward.url=http://localhost:1')).toBe(true);
});

it('a ratio of sums is weighted by its denominators', () => {
  const { mean, low, high } = bootstrapRatio([1, 30], [1, 10], { seed: 1, resamples: 500 });
  expect(mean).toBeCloseTo(31 / 11, 12);
  expect([low, high]).toEqual([1, 3]);
});
