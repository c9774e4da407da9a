/** A tiny run of two steps of every algorithm, and layouts on two workers or four that must compute the same. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { sftRecords, vocabSize, writeLines, writeModelDir } from './tiny.js';

export interface AlgorithmRun {
  readonly words: readonly string[];
  /** A symmetric layout by its name, or one of several meshes by its options. */
  readonly layouts: readonly { readonly name: string; readonly options?: readonly string[] }[];
}

/** A model `two` of 2 layers; `sft.jsonl`, `pairs.jsonl`, `prompts.jsonl` and `valid.jsonl`. */
export function writeAlgorithmInputs(dir: string): void {
  mkdirSync(dir, { recursive: true });
  writeModelDir(join(dir, 'two'), { config: { num_hidden_layers: 2 } });
  const records = sftRecords(16);
  writeLines(join(dir, 'sft.jsonl'), records);
  const prompts = records.map(({ id, prompt }) => ({ id, prompt }));
  writeLines(join(dir, 'prompts.jsonl'), prompts.slice(0, 8));
  writeLines(join(dir, 'valid.jsonl'), prompts.slice(8, 13));
  const pairs = prompts.map((p, i) => ({
    ...p,
    pos_answers: [' sleeps.', ' sings.'].slice(i % 2),
    neg_answers: [' eats a lot.', ' is here again.'].slice(i % 2),
  }));
  writeLines(join(dir, 'pairs.jsonl'), pairs);
}

const run = (command: string, roles: readonly string[], options: readonly string[]) => [
  command,
  `experiment_name=${command}`,
  ...roles.flatMap((role) => [`${role}.init_from_scratch=true`, `${role}.config=two`]),
  ...options,
  'exp_ctrl.benchmark_steps=2',
];
const trained = (file: string) => [
  `dataset.train_path=${file}.jsonl`,
  'dataset.train_bs_n_seqs=6',
  `dataset.valid_path=${file}.jsonl`,
  'dataset.valid_bs_n_seqs=8',
  'exp_ctrl.eval_freq_steps=2',
];
const prompted = (gen: string) => [
  'dataset.path=prompts.jsonl',
  'dataset.train_bs_n_seqs=4',
  'dataset.max_prompt_len=16',
  'dataset.valid_path=valid.jsonl',
  'dataset.valid_bs_n_seqs=3',
  'exp_ctrl.eval_freq_steps=2',
  'actor.optimizer.lr=0.003',
  `${gen}.max_new_tokens=6`,
  `${gen}.min_new_tokens=1`,
  `${gen}.top_p=1`,
  `${gen}.top_k=${vocabSize}`,
];
/** One call on its own mesh, of a number of devices. */
const on = (call: string, mesh: string, sizes: Readonly<Record<string, number>> = {}) => [
  `${call}.device_mesh=NODE01:${mesh}`,
  ...Object.entries(sizes).map(([k, n]) => `${call}.parallel.${k}_parallel_size=${n}`),
];
const meshes = (devices: number, ...calls: readonly string[][]) => [
  `n_gpus_per_node=${devices}`,
  'allocation_mode=manual',
  ...calls.flat(),
];
const [d2, m2, p2] = [{ name: 'd2m1p1' }, { name: 'd1m2p1' }, { name: 'd1m1p2' }];

export const algorithmRuns: readonly AlgorithmRun[] = [
  {
    words: run('sft', ['model'], [...trained('sft'), 'model.optimizer.lr=0.01']),
    layouts: [d2, m2, p2],
  },
  {
    words: run('rw', ['model'], [...trained('pairs'), 'model.optimizer.lr=0.01']),
    layouts: [d2, m2, p2],
  },
  {
    words: run('dpo', ['actor', 'ref'], [...trained('pairs'), 'actor.optimizer.lr=0.003']),
    layouts: [
      d2,
      m2,
      {
        name: 'two meshes',
        options: meshes(3, on('ref_inf', '2'), on('actor_train', '0,1', { pipeline: 2 })),
      },
    ],
  },
  {
    words: run('simpo', ['actor'], [...trained('pairs'), 'actor.optimizer.lr=0.003']),
    layouts: [d2],
  },
  {
    words: run(
      'grpo',
      ['actor', 'ref', 'rew'],
      [...prompted('ppo.gen'), 'ppo.ppo_n_minibatches=1', 'ppo.kl_ctl=0.05', 'group_size=2'],
    ),
    layouts: [
      d2,
      m2,
      {
        name: 'two meshes',
        options: meshes(
          4,
          on('actor_gen', '0,1,2,3', { data: 4 }),
          on('ref_inf', '0,1', { data: 2 }),
          on('rew_inf', '2,3', { model: 2 }),
          on('actor_train', '0,1', { model: 2 }),
        ),
      },
    ],
  },
  {
    words: run(
      'rloo',
      ['actor', 'ref', 'rew'],
      [...prompted('ppo.gen'), 'ppo.ppo_n_minibatches=1', 'ppo.kl_ctl=0.05', 'group_size=2'],
    ),
    layouts: [d2, p2],
  },
  { words: run('remax', ['actor', 'rew'], prompted('gen')), layouts: [d2, m2] },
  {
    words: run(
      'raft',
      ['actor', 'rew'],
      [...prompted('gen'), 'ppo_n_minibatches=1', 'group_size=3'],
    ),
    layouts: [d2, m2],
  },
  {
    words: run(
      'ppo-ema',
      ['actor', 'critic', 'ref', 'rew'],
      [
        ...prompted('ppo.gen'),
        'critic.optimizer.lr=0.003',
        'ppo.ppo_n_minibatches=1',
        'ref_ema_eta=0.5',
      ],
    ),
    layouts: [d2, m2],
  },
];
