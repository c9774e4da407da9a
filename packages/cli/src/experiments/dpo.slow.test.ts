import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { useFolder, writeLines, writeModelDir } from '../e2e/tiny.js';
import { dpoSchema } from '../options/schemas/dpo.js';
import { runDpo } from './dpo.js';
import { configOf, metricsOf, testContext, useDevice } from './test-run.js';

const dir = useFolder();
const device = useDevice();
const lm = writeModelDir(join(dir, 'lm'));
const prompts = ['a cat', 'the dog', 'some bird', 'no fish', 'one horse', 'it'];
/** The short answer is the better one, in pairs of unequal lengths and numbers. */
const records = Array.from({ length: 24 }, (_, i) => ({
  id: `r${i}`,
  prompt: prompts[i % prompts.length]!,
  pos_answers: [' sleeps.', ' sings.'].slice(i % 2),
  neg_answers: [' eats a lot.', ' is here again.'].slice(i % 2),
}));
const words = (trial: string, ...more: string[]) => [
  `fileroot=${join(dir, 'runs')}`,
  'experiment_name=dpo',
  `trial_name=${trial}`,
  ...['actor', 'ref'].flatMap((role) => [`${role}.init_from_scratch=true`, `${role}.config=${lm}`]),
  `dataset.train_path=${writeLines(join(dir, 'pairs.jsonl'), records)}`,
  'dataset.train_bs_n_seqs=6',
  'actor.optimizer.lr=0.003',
  ...more,
];
const run = async (trial: string, ...more: string[]) => {
  const { path } = await runDpo(
    configOf(dpoSchema, words(trial, ...more)),
    testContext(),
    device(),
  );
  return metricsOf(path, 'actor_train');
};

describe('real dpo', () => {
  it('starts at log 2 with margin 0 and learns which answer is the better one', async () => {
    const steps = await run('learns', 'exp_ctrl.total_train_epochs=4');
    expect(steps).toHaveLength(16);
    expect(steps[0]!.loss).toBeCloseTo(Math.log(2), 10);
    expect(steps[0]!.margin).toBe(0);
    const last = steps.at(-1)!;
    expect(last.acc).toBe(1);
    expect(last.loss).toBeLessThan(0.35);
    expect(last.margin).toBeGreaterThan(1);
    expect(last.pos_score).toBeGreaterThan(last.neg_score!);
  });

  it('defect 7: microbatches of the reference and of training change no number', async () => {
    const one = await run('one');
    const cut = await run('cut', 'ref_inf.n_mbs=3', 'actor_train.n_mbs=2');
    expect(cut).toHaveLength(4);
    cut.forEach((stats, i) => {
      for (const name of ['loss', 'margin', 'pos_score', 'neg_score', 'kl', 'grad_norm'])
        expect(stats[name], `${name} of step ${i + 1}`).toBeCloseTo(one[i]![name]!, 4);
    });
  });

  it.each([['loss_type=ipo'], ['label_smoothing=0.1']])('%s learns too', async (option) => {
    const steps = await run(option.replace('=', '-'), option, 'exp_ctrl.total_train_epochs=3');
    expect(steps.at(-1)!.loss).toBeLessThan(0.9 * steps[0]!.loss!);
    expect(steps.at(-1)!.margin).toBeGreaterThan(0.3);
  });

  it('refuses options that would be ignored', () => {
    const parse = (...more: string[]) => configOf(dpoSchema, words('bad', ...more));
    expect(() => parse('loss_type=ipo', 'label_smoothing=0.1')).toThrow(/'label_smoothing'/);
    expect(() => parse('exp_ctrl.eval_freq_steps=1')).toThrow(
      'evaluation needs dataset.valid_path',
    );
    expect(() => parse('actor_train.n_mbs=7')).toThrow(/'actor_train\.n_mbs'/);
  });
});
