/**
 * What tests of runs on worker processes share: inputs whose models can be cut in two, three or four each way, runs
 * compared by what their steps computed, and kills of workers at moments drawn from a seed.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'vitest';
import { z } from 'zod';

import { metricsOf } from '../experiments/test-run.js';
import { readStatus } from '../lifecycle/run-status.js';
import type { RealProcess, StartOptions } from './real-process.js';
import { finish, metricsLines, runDir, type Draws, type KillPlan } from './resume-suite.js';
import { sftRecords, vocabSize, writeLines, writeModelDir } from './tiny.js';

/** Models `lm` of 4 layers, 12 heads and 48 units in the MLP, `moe` with 4 experts, `one` of 1 layer; `sft.jsonl` and `prompts.jsonl`. */
export function writeRuntimeInputs(dir: string): void {
  mkdirSync(dir, { recursive: true });
  const heads = { num_attention_heads: 12, num_key_value_heads: 12, head_dim: 8 };
  writeModelDir(join(dir, 'lm'), { config: { ...heads, num_hidden_layers: 4 } });
  writeModelDir(join(dir, 'one'));
  const experts = {
    architectures: ['MixtralForCausalLM'],
    model_type: 'mixtral',
    num_local_experts: 4,
  };
  writeModelDir(join(dir, 'moe'), { config: { ...heads, ...experts, num_hidden_layers: 4 } });
  writeLines(join(dir, 'sft.jsonl'), sftRecords(24));
  writeLines(
    join(dir, 'prompts.jsonl'),
    sftRecords(16).map(({ id, prompt }) => ({ id, prompt })),
  );
}

/** SFT of a model, 24 records an epoch. */
export const sftOn = (model: string, batch = 12) => [
  'sft',
  'experiment_name=sft',
  'model.init_from_scratch=true',
  `model.config=${model}`,
  'model.optimizer.lr=0.01',
  'dataset.train_path=sft.jsonl',
  `dataset.train_bs_n_seqs=${batch}`,
];

/** PPO of the 4-layer model: two steps of 4 prompts. */
export const ppoOnLm = [
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
  'ppo.ppo_n_minibatches=1',
  'ppo.use_adaptive_kl_ctl=true',
  'exp_ctrl.benchmark_steps=2',
];

/** Options of a symmetric layout, `d2m2p1`. */
export function layoutWords(layout: string): string[] {
  const sizes = [...layout.matchAll(/\d+/g)].map(Number);
  return [`n_gpus_per_node=${sizes.reduce((a, b) => a * b, 1)}`, `allocation_mode=${layout}`];
}

/** Stats of every step agree within 1e-5 of their size, and of 0.1 for small ones (differences of what is nearly equal). */
export function expectSameStats(one: string, other: string, mfc: string): void {
  const [want, got] = [metricsOf(one, mfc), metricsOf(other, mfc)];
  expect(got).toHaveLength(want.length);
  want.forEach((stats, step) => {
    for (const [name, value] of Object.entries(stats)) {
      const error = Math.abs((got[step]![name] ?? NaN) - value) / Math.max(0.1, Math.abs(value));
      expect(error, `${mfc} ${name} of step ${step + 1}`).toBeLessThan(1e-5);
    }
  });
}

const numbersOfStep = z.record(z.string(), z.record(z.string(), z.number()));
const stepRecord = z.object({ stats: numbersOfStep, eval: numbersOfStep.optional() });

/** What the steps of a run computed: `2 actor_train/loss`, `2 eval actor@0/reward`, … */
export function numbersOf(run: string): Record<string, number> {
  const out: Record<string, number> = {};
  metricsLines(run).forEach((line, i) => {
    const { stats, eval: evaluated = {} } = stepRecord.parse(JSON.parse(line));
    for (const [of, groups] of [
      ['', stats],
      ['eval ', evaluated],
    ] as const)
      for (const [group, values] of Object.entries(groups))
        for (const [name, value] of Object.entries(values))
          out[`${i + 1} ${of}${group}/${name}`] = value;
  });
  return out;
}

/** The same numbers by name, within `tolerance` of their size or, if they are small, of 1. */
export function expectSameNumbers(one: string, other: string, tolerance: number): void {
  const [want, got] = [numbersOf(one), numbersOf(other)];
  expect(Object.keys(got).sort()).toEqual(Object.keys(want).sort());
  for (const [name, value] of Object.entries(want)) {
    const error = Math.abs(got[name]! - value) / Math.max(1, Math.abs(value));
    expect(error, `${name}: ${got[name]!} instead of ${value}`).toBeLessThan(tolerance);
  }
}

const delay = (ms: number) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

async function until(process: RealProcess, condition: () => boolean): Promise<void> {
  while (process.running && !condition()) await delay(2);
}

const saving = (run: string) => {
  const dir = join(run, 'checkpoints');
  return existsSync(dir) && readdirSync(dir).some((n) => n.startsWith('.partial-'));
};

/** Process ids of workers that had their kill; the next one is of the next generation. */
const gone = new Set<number>();

/** Kills a drawn worker with SIGKILL at a drawn moment: while workers start, within a step, within a save. */
export async function killWorker(
  process: RealProcess,
  run: string,
  draws: Draws,
  kind: 'start' | 'step' | 'save',
): Promise<string> {
  const workers = () => readStatus(run)?.workers ?? [];
  await until(process, () => workers().some((w) => !gone.has(w.pid)));
  if (kind !== 'start') {
    // A resumed run first drops lines past its checkpoint.
    let least = Infinity;
    await until(process, () => {
      const lines = metricsLines(run).length;
      least = Math.min(least, lines);
      return lines > least;
    });
  }
  if (kind === 'save') await until(process, () => saving(run));
  await delay(draws.next() * { start: 1500, step: 150, save: 15 }[kind]);
  const all = workers();
  expect(all.length, process.stderr).toBeGreaterThan(0);
  const victim = all[Math.floor(draws.next() * all.length)]!;
  for (const w of all) gone.add(w.pid);
  if (process.running) globalThis.process.kill(victim.pid, 'SIGKILL');
  return `${victim.name} at ${kind}, ${metricsLines(run).length} steps`;
}

/** One run whose workers are killed `plan.kills` times and that goes on by itself. */
export async function killWorkersAndFinish(
  plan: KillPlan,
  trial: string,
  draws: Draws,
): Promise<void> {
  const words = [`trial_name=${trial}`, 'recover=auto', `recover_retries=${plan.kills}`];
  const process = plan.start([...plan.words, ...words], plan);
  const run = runDir(plan, trial);
  const kinds = ['step', 'save', 'start'] as const;
  for (let i = 0; i < plan.kills && process.running; i++)
    console.log(
      `kill ${i + 1}: ${await killWorker(process, run, draws, kinds[i % kinds.length]!)}`,
    );
  await finish(process);
}

/** Runs to the end and gives the directory of the run. */
export async function runToEnd(
  start: (words: readonly string[], options: StartOptions) => RealProcess,
  cwd: string,
  words: readonly string[],
  trial: string,
): Promise<string> {
  const process = start([...words, `trial_name=${trial}`], { cwd });
  await finish(process);
  return runDir({ cwd, experiment: words[0]! }, trial);
}
