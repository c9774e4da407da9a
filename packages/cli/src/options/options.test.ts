import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { describeSchema, fieldsOf } from './fields.js';
import { parseOptions, splitArguments } from './parse.js';
import { ppoSchema } from './schemas/ppo.js';
import { rwSchema } from './schemas/rw.js';
import { sftSchema } from './schemas/sft.js';
import { editDistance, nearest } from './suggest.js';

const dir = mkdtempSync(join(tmpdir(), 'real-options-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});

const parse = (schema: z.ZodType, ...words: string[]) =>
  parseOptions(schema, splitArguments(words));
const failure = (run: () => unknown): string => {
  try {
    run();
  } catch (e) {
    return (e as Error).message;
  }
  throw new Error('expected a failure');
};

const sftBase = ['experiment_name=e', 'model.path=m', 'dataset.train_path=t.jsonl'];
const ppoBase = [
  'experiment_name=e',
  ...['actor', 'critic', 'ref', 'rew'].map((r) => `${r}.path=${r}`),
  'dataset.path=p.jsonl',
];

describe('suggestions', () => {
  it('counts edits, swaps once', () => {
    expect(editDistance('kitten', 'sitting')).toBe(3);
    expect(editDistance('lr', 'rl')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
  });
  it('finds tails and near names, nothing far', () => {
    expect(nearest('lr', ['model.optimizer.lr', 'seed'])).toBe('model.optimizer.lr');
    expect(nearest('sede', ['seed', 'mode'])).toBe('seed');
    expect(nearest('zzzzzz', ['seed', 'mode'])).toBeUndefined();
  });
});

describe('key=value', () => {
  const schema = z.object({
    n: z.number().default(1).describe('n'),
    i: z.number().int().default(1).describe('i'),
    b: z.boolean().default(false).describe('b'),
    s: z.string().nullable().default('x').describe('s'),
    e: z.enum(['a', 'b']).default('a').describe('e'),
    l: z.array(z.number()).default([]).describe('l'),
    u: z
      .union([z.literal('auto'), z.number()])
      .default('auto')
      .describe('u'),
    o: z.object({ q: z.number().default(2).describe('q') }).prefault({}),
  });
  it('coerces by the schema', () => {
    const { config, given } = parse(
      schema,
      ...['n=1e-5', 'i=1e3', 'b=True', 's=null', 'e=b', 'l=[1, 2.5]', 'u=3', 'o.q=-4'],
    );
    expect(config).toEqual({
      n: 1e-5,
      i: 1000,
      b: true,
      s: null,
      e: 'b',
      l: [1, 2.5],
      u: 3,
      o: { q: -4 },
    });
    expect([...given]).toContain('o.q');
  });
  it('keeps = and text that looks like a number in strings', () => {
    expect(parse(schema, 's=a=b').config).toMatchObject({ s: 'a=b' });
    expect(parse(schema, 's=007').config).toMatchObject({ s: '007' });
  });
  it.each([
    ['n=abc', "option 'n' is 'abc', expected a number"],
    ['n=Infinity', "option 'n' is 'Infinity', expected a number"],
    ['n=', "option 'n' is '', expected a number"],
    ['i=1.5', "option 'i' is '1.5', expected an integer"],
    ['b=1', "option 'b' is '1', expected a boolean"],
    ['e=c', "option 'e' is 'c', expected one of a, b"],
    ['l=1', "option 'l' is '1', expected a list of number"],
    ['o=1', "'o' is a group of options; set one of them, such as o.q=…"],
    ['o.p=1', "unknown option 'o.p'; did you mean 'o.q'?"],
    ['novalue', "'novalue' is not of the form key=value"],
    ['--n=2', "unknown flag '--n=2'; options have no dashes: write n=2"],
  ])('%s fails', (word, message) => {
    expect(failure(() => parse(schema, word))).toBe(message);
  });
  it('refuses a repeated key', () => {
    expect(failure(() => parse(schema, 'n=1', 'n=2'))).toBe(
      "option 'n' is given twice (1 and 2); keep one",
    );
  });
});

describe('config files', () => {
  const file = (name: string, text: string) => {
    const path = join(dir, name);
    writeFileSync(path, text);
    return path;
  };
  it('lie below key=value', () => {
    const path = file(
      'a.yaml',
      'experiment_name: e\nseed: 7\nmodel:\n  path: m\n  optimizer: {lr: 1e-3}\ndataset: {train_path: t.jsonl}\n',
    );
    const { config, given } = parseOptions(sftSchema, splitArguments(['--config', path, 'seed=8']));
    expect(config.seed).toBe(8);
    expect(config.model.optimizer.lr).toBe(1e-3);
    expect(given.has('model.optimizer.lr')).toBe(true);
  });
  it('name file and key in errors', () => {
    const typo = file('b.yaml', 'experiment_name: e\nmodel: {paht: m}\n');
    expect(failure(() => parse(sftSchema, `--config=${typo}`))).toBe(
      `config file '${typo}': unknown option 'model.paht'; did you mean 'model.path'?`,
    );
    const type = file('c.yaml', 'seed: [1]\n');
    expect(failure(() => parse(sftSchema, '--config', type))).toContain("option 'seed' is [1]");
    const broken = file('d.yaml', 'a: [1\n');
    expect(failure(() => parse(sftSchema, '--config', broken))).toContain(
      `config file '${broken}'`,
    );
    const missing = join(dir, 'no.yaml');
    expect(failure(() => parse(sftSchema, '--config', missing))).toContain('ENOENT');
    const scalar = file('e.yaml', 'model: 3\n');
    expect(failure(() => parse(sftSchema, '--config', scalar))).toContain(
      "'model' is 3, expected a",
    );
  });
});

describe('experiments', () => {
  it('every option has a meaning, every group too', () => {
    for (const schema of [sftSchema, rwSchema, ppoSchema]) {
      const { fields, groups } = describeSchema(schema);
      expect(fields.filter((f) => f.description === '').map((f) => f.name)).toEqual([]);
      for (const f of fields) {
        const group = f.name.split('.').slice(0, -1).join('.');
        if (group) expect(groups.get(group), group).toBeTruthy();
      }
    }
  });
  it('take the field’s command lines', () => {
    const { config } = parseOptions(
      sftSchema,
      splitArguments([
        ...sftBase,
        ...[
          'mode=local',
          'trial_name=t',
          'exp_ctrl.total_train_epochs=8',
          'exp_ctrl.save_freq_steps=50',
        ],
        ...['model.optimizer.type=adam', 'model.optimizer.lr_scheduler_type=cosine'],
        ...['model.type._class=llama', 'dataset.valid_path=v', 'dataset.max_seqlen=512'],
        ...['exp_ctrl.eval_freq_epochs=1', 'dataset.train_bs_n_seqs=512', 'allocation.n_mbs=2'],
      ]),
    );
    expect(config.exp_ctrl.save_freq_steps).toBe(50);
    expect(config.allocation.n_mbs).toBe(2);
    const ppo = parseOptions(
      ppoSchema,
      splitArguments([
        ...ppoBase,
        ...['critic.type.is_critic=True', 'ppo.gen.max_new_tokens=512', 'ppo.kl_ctl=0.2'],
      ]),
    ).config;
    expect(ppo.ppo.gen).toMatchObject({ max_new_tokens: 512, min_new_tokens: 256, top_k: 200 });
    expect(ppo.ppo).toMatchObject({ ppo_n_minibatches: 4, max_reward_clip: 20, gae_lambda: 1 });
  });
  it('rw starts from a language model, ppo’s critic does not', () => {
    expect(
      parseOptions(rwSchema, splitArguments(sftBase)).config.model.init_critic_from_actor,
    ).toBe(true);
    const fields = fieldsOf(ppoSchema);
    expect(fields.find((f) => f.name === 'critic.init_critic_from_actor')?.default).toBe(false);
  });
  it.each([
    [
      sftSchema,
      sftBase.slice(1),
      "option 'experiment_name' is missing (names the run together with trial_name); add experiment_name=…",
    ],
    [sftSchema, [...sftBase, 'seed=-1'], "option 'seed' is -1: expected at least 0"],
    [
      sftSchema,
      [...sftBase, 'experiment_name=a/b'].slice(1),
      "option 'experiment_name' is 'a/b': expected letters",
    ],
    [
      sftSchema,
      [sftBase[0]!, sftBase[2]!],
      "option 'model.path' is null by default: a checkpoint directory is needed",
    ],
    [sftSchema, [...sftBase, 'exp_ctrl.eval_freq_steps=2'], 'evaluation needs dataset.valid_path'],
    [sftSchema, [...sftBase, 'recover_mode=resume'], 'recover_mode=resume needs the trial_name'],
    [
      sftSchema,
      [...sftBase, 'model.type.is_critic=true'],
      "the role 'model' has a vocabulary head",
    ],
    [
      sftSchema,
      [...sftBase, 'model.config=c'],
      'it is read only with model.init_from_scratch=true',
    ],
    [
      ppoSchema,
      [...ppoBase, 'ppo.gen.max_new_tokens=64'],
      "option 'ppo.gen.min_new_tokens' is 256 by default: min_new_tokens must not exceed max_new_tokens",
    ],
    [ppoSchema, [...ppoBase, 'dataset.train_bs_n_seqs=2'], 'has no 4 minibatches'],
    [ppoSchema, [...ppoBase, 'actor_gen.n_mbs=500'], '500 parts (n_mbs × data_parallel_size)'],
    [
      ppoSchema,
      [...ppoBase, 'ppo.top_p=1'],
      "unknown option 'ppo.top_p'; did you mean 'ppo.gen.top_p'?",
    ],
  ])('check across options %#', (schema, words, message) => {
    expect(failure(() => parse(schema, ...words))).toContain(message);
  });
});
