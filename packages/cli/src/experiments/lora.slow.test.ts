/** Runs with adapters: what is learned, saved, resumed, gone on with, and that the reference has no weights of its own. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { readCheckpointDir, readPeftConfig } from '@realhf/model/node';
import { describe, expect, it } from 'vitest';

import { useFolder, writeLines, writeModelDir } from '../e2e/tiny.js';
import { dpoSchema } from '../options/schemas/dpo.js';
import { ppoEmaSchema } from '../options/schemas/ppo-ema.js';
import { sftSchema } from '../options/schemas/sft.js';
import { runDpo } from './dpo.js';
import { runSft } from './sft.js';
import { configOf, metricsOf, testContext, useDevice } from './test-run.js';

const dir = useFolder();
const device = useDevice();
const lm = writeModelDir(join(dir, 'lm'));
const common = (trial: string) => [
  `fileroot=${join(dir, 'runs')}`,
  'experiment_name=lora',
  `trial_name=${trial}`,
];
const answers = [' sleeps.', ' eats a lot.', ' is here again.'];
const records = Array.from({ length: 12 }, (_, i) => ({
  id: `s${i}`,
  prompt: ['a cat', 'the dog', 'some bird'][i % 3]!,
  answer: answers[i % 3]!,
}));
const sft = async (trial: string, ...more: string[]) => {
  const words = [
    ...common(trial),
    `model.init_from_scratch=true`,
    `model.config=${lm}`,
    `dataset.train_path=${writeLines(join(dir, 'sft.jsonl'), records)}`,
    'dataset.train_bs_n_seqs=6',
    'model.lora.rank=4',
    'model.lora.targets=[q_proj,v_proj,down_proj]',
    'model.optimizer.lr=0.02',
    ...more,
  ];
  const result = await runSft(configOf(sftSchema, words), testContext(), device());
  return { result, steps: metricsOf(result.path, 'trainDefault') };
};
const weights = async (path: string) => {
  const checkpoint = await readCheckpointDir(path);
  const out = new Map<string, Float32Array>();
  await checkpoint.load((name, full) => void out.set(name, full));
  await checkpoint.close();
  return out;
};

describe('sft with an adapter', () => {
  it('learns, saves a whole model, and goes on bit by bit', async () => {
    const whole = await sft('whole', 'exp_ctrl.total_train_epochs=6');
    expect(whole.steps).toHaveLength(12);
    expect(whole.steps.at(-1)!.loss!).toBeLessThan(0.9 * whole.steps[0]!.loss!);
    const more = ['exp_ctrl.total_train_epochs=6', 'exp_ctrl.save_freq_steps=5'];
    await sft('cut', ...more, 'exp_ctrl.benchmark_steps=5');
    const cut = await sft('cut', ...more, 'recover_mode=auto');
    expect(cut.steps.map((s) => s.loss)).toEqual(whole.steps.map((s) => s.loss));
    const [a, b] = [whole, cut].map((r) => r.result.models.default!);
    expect(await weights(b!)).toEqual(await weights(a!));
  });

  it('saves the adapter as a PEFT folder, from which another run goes on', async () => {
    const first = await sft('adapter', 'save.lora=adapter', 'exp_ctrl.total_train_epochs=3');
    const folder = first.result.models.default!;
    expect(await readPeftConfig(folder)).toMatchObject({ rank: 4, alpha: 16 });
    expect(existsSync(join(folder, 'model.safetensors'))).toBe(false);
    const on = await sft('on', 'model.lora.rank=null', `model.lora.path=${folder}`);
    expect(on.steps[0]!.loss!).toBeLessThan(first.steps.at(-2)!.loss!);
  });
});

describe('dpo with an adapter', () => {
  const pairs = Array.from({ length: 12 }, (_, i) => ({
    id: `r${i}`,
    prompt: ['a cat', 'the dog', 'some bird'][i % 3]!,
    pos_answers: [' sleeps.'],
    neg_answers: [' eats a lot.'],
  }));
  const words = (trial: string, ...more: string[]) => [
    ...common(trial),
    'actor.init_from_scratch=true',
    `actor.config=${lm}`,
    `dataset.train_path=${writeLines(join(dir, 'pairs.jsonl'), pairs)}`,
    'dataset.train_bs_n_seqs=6',
    'actor.optimizer.lr=0.02',
    'exp_ctrl.total_train_epochs=3',
    ...more,
  ];
  const run = async (trial: string, ...more: string[]) => {
    const { ops } = device();
    const before = ops.memory().live;
    const config = configOf(dpoSchema, words(trial, ...more));
    const { path } = await runDpo(config, testContext(), device());
    expect(ops.memory().live).toBe(before);
    return { steps: metricsOf(path, 'actor_train'), path };
  };

  it('needs no path for the reference, and gives the numbers of one with a copy of its own', async () => {
    const lora = 'actor.lora.rank=4';
    const shared = await run('shared', lora);
    expect(shared.steps[0]!.loss).toBeCloseTo(Math.log(2), 10);
    expect(shared.steps[0]!.margin).toBe(0);
    expect(shared.steps.at(-1)!.margin!).toBeGreaterThan(0.3);
    const first = await sft('base', 'model.lora.rank=null', 'model.optimizer.lr=0');
    const base = first.result.models.default!;
    const own = await run('own', lora, `ref.path=${base}`);
    expect(own.steps).toEqual(shared.steps);
    expect(readFileSync(join(shared.path, 'metrics.jsonl'), 'utf8')).not.toBe('');
  });

  it('options that can not be', () => {
    const parse = (...more: string[]) => configOf(dpoSchema, words('bad', ...more));
    expect(() => parse()).toThrow(/'ref\.path'/);
    expect(() => parse('actor.lora.rank=2', 'actor.lora.dropout=0.1')).toThrow(/lora\.dropout/);
    expect(() => parse('actor.lora.rank=2', 'actor.lora.path=x')).toThrow(/lora\.rank/);
    expect(() => parse('actor.lora.rank=2', 'actor.lora.targets=[qkv]')).toThrow(/lora\.targets/);
    expect(() =>
      configOf(ppoEmaSchema, [...common('ema'), 'actor.lora.rank=2', 'actor.path=x']),
    ).toThrow(/actor\.lora|dataset/);
  });
});
