/** Command lines of tiny SFT and PPO runs, with their models and data on disk. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { sftRecords, vocabSize, writeLines, writeModelDir } from './tiny.js';

/** Models `lm`, `sft.jsonl` and `prompts.jsonl` in a folder. */
export function writeInputs(dir: string): void {
  mkdirSync(dir, { recursive: true });
  writeModelDir(join(dir, 'lm'));
  writeLines(join(dir, 'sft.jsonl'), sftRecords(20));
  writeLines(
    join(dir, 'prompts.jsonl'),
    sftRecords(12).map(({ id, prompt }) => ({ id, prompt })),
  );
}

/** SFT: 5 steps of 4 records per epoch. */
export const sftWords = [
  'sft',
  'experiment_name=sft',
  'model.init_from_scratch=true',
  'model.config=lm',
  'model.optimizer.lr=0.01',
  'dataset.train_path=sft.jsonl',
  'dataset.train_bs_n_seqs=4',
];

/** PPO: 3 steps of 4 prompts per epoch, two minibatches, value norm and adaptive KL. */
export const ppoWords = [
  'ppo',
  'experiment_name=ppo',
  ...['actor', 'critic', 'ref', 'rew'].flatMap((role) => [
    `${role}.init_from_scratch=true`,
    `${role}.config=lm`,
  ]),
  'actor.optimizer.lr=0.003',
  'critic.optimizer.lr=0.003',
  'dataset.path=prompts.jsonl',
  'dataset.train_bs_n_seqs=4',
  'dataset.max_prompt_len=16',
  'ppo.gen.max_new_tokens=8',
  'ppo.gen.min_new_tokens=1',
  'ppo.gen.top_p=1',
  `ppo.gen.top_k=${vocabSize}`,
  'ppo.ppo_n_minibatches=2',
  'ppo.use_adaptive_kl_ctl=true',
];
