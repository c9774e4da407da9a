/**
 * Verifiable rewards: which of three digits is the largest? A tiny model first learns only to answer with one of them, by
 * chance, then GRPO with an exact-match reward in TypeScript (arithmetic-reward.ts) teaches it which one. Accuracy is
 * measured on problems that it saw in neither.
 *
 * In this repository: npm run example custom/arithmetic-grpo
 */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

import { commands, runCli } from '@realhf/cli';

import { writeCharacterModel } from './character-model.js';

const dir = mkdtempSync(join(tmpdir(), 'arithmetic-'));
const model = join(dir, 'model');

/** All 720 problems in an order that looks like chance and is always the same: a third each to learn, to try, to measure. */
function writeProblems(): void {
  const problems = Array.from({ length: 1000 }, (_, i) => {
    const digits = Array.from(String((i * 387 + 71) % 1000).padStart(3, '0'));
    const best = digits.reduce((a, b) => (a > b ? a : b));
    return { prompt: `${digits.join(',')}=`, answer: digits[(i * 7 + (i >> 3)) % 3]!, best };
  }).filter(({ prompt }) => new Set(prompt).size === 5);
  const write = (name: string, part: readonly unknown[]) => {
    writeFileSync(join(dir, name), part.map((p) => `${JSON.stringify(p)}\n`).join(''));
  };
  write('sft.jsonl', problems.slice(0, 240));
  write('grpo.jsonl', problems.slice(240, 480));
  write('heldout.jsonl', problems.slice(480));
}

async function real(words: readonly string[]): Promise<void> {
  const code = await runCli(commands, [...words, `fileroot=${dir}`, 'trial_name=run'], {
    ...{ stdout: process.stdout, stderr: process.stderr, env: process.env, version: '' },
    signal: new AbortController().signal,
  });
  if (code !== 0) throw new Error(`real ${words[0]!} ended with ${code}`);
}

/** Share of held-out problems that a model answers right, greedily. */
async function accuracy(name: string, path: string): Promise<number> {
  await real([
    ...['gen', `experiment_name=${name}`, `model.path=${path}`, 'gen.greedy=true'],
    ...[`dataset.path=${dir}/heldout.jsonl`, 'dataset.train_bs_n_seqs=240'],
    ...['gen.max_new_tokens=2', 'gen.min_new_tokens=1'],
  ]);
  const best = new Map(lines(`${dir}/heldout.jsonl`).map((p) => [p.prompt, p.best]));
  const answers = lines(`${dir}/${name}/run/output.jsonl`);
  return answers.filter((a) => a.answer === best.get(a.prompt)).length / answers.length;
}
const lines = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l) as Record<string, string>);
/** Hugging Face directory of the newest checkpoint. */
function trained(name: string, role: string): string {
  const checkpoints = `${dir}/${name}/run/checkpoints`;
  const newest = readdirSync(checkpoints)
    .filter((f) => f.startsWith('step-'))
    .sort()
    .at(-1)!;
  return `${checkpoints}/${newest}/models/${role}`;
}

writeCharacterModel(model, '0123456789,=');
writeProblems();
await real([
  ...['sft', 'experiment_name=sft', 'model.init_from_scratch=true', `model.config=${model}`],
  ...[`dataset.train_path=${dir}/sft.jsonl`, 'dataset.train_bs_n_seqs=40'],
  ...['model.optimizer.lr=0.008', 'exp_ctrl.total_train_epochs=6'],
]);
const sft = trained('sft', 'default');
const before = await accuracy('before', sft);
await real([
  ...['grpo', 'experiment_name=grpo', `actor.path=${sft}`, 'ppo.kl_ctl=0', 'group_size=8'],
  ...['reward.fn=examples/custom/arithmetic-reward.ts'],
  ...[`dataset.path=${dir}/grpo.jsonl`, 'dataset.train_bs_n_seqs=40', 'ppo.ppo_n_minibatches=1'],
  ...['ppo.gen.max_new_tokens=2', 'ppo.gen.min_new_tokens=1', 'ppo.gen.top_p=1'],
  ...['actor.optimizer.lr=0.005', 'exp_ctrl.total_train_epochs=4'],
]);
const after = await accuracy('after', trained('grpo', 'actor'));
console.log(`held-out accuracy: ${before.toFixed(2)} after SFT, ${after.toFixed(2)} after GRPO`);
