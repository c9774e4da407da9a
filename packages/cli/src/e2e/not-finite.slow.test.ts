/** A loss or gradient that is not finite ends the run with the call, step and records at fault; the disk keeps what it had. */
import { readdirSync } from 'node:fs';

import { expect, it } from 'vitest';

import { from, sft, useBench, writeWeights } from './bench.js';

const bench = useBench();
const { at, real } = bench;

it('NaN in the checkpoint: the first step says so, nothing is saved', async () => {
  await writeWeights(bench, at('nan'), (name) => (name === '1.mlp.down.weight' ? NaN : 0.01));
  const { code, err } = await real(sft(bench, { ...from(at('nan')), trial_name: 't' }));
  expect(code).toBe(1);
  expect(err).toMatch(/(^|\n)real: [^\n]*trainDefault[^\n]*step 0[^\n]*\br\d+[^\n]*\n$/);
  expect(err).toMatch(/loss 'sft' is NaN: the log-probs of id 'r\d+' are NaN/);
  expect(err).not.toContain('unexpected');
  expect(readdirSync(at('real-runs/sft/t'))).not.toContain('checkpoints');
});

it('a learning rate out of bounds: the checkpoint before stays whole', async () => {
  const { code, err } = await real(
    sft(bench, {
      'model.optimizer.lr': '1e30',
      'exp_ctrl.save_freq_steps': '1',
      trial_name: 't',
    }),
  );
  expect(code).toBe(1);
  expect(err).toMatch(/\nreal: [^\n]*trainDefault[^\n]*step 1[^\n]*\br\d+[^\n]*\n$/);
  expect(err).not.toContain('unexpected');
  console.log(err.trimEnd().split('\n').at(-1));
  const saved = readdirSync(at('real-runs/sft/t/checkpoints')).sort();
  expect(saved).toEqual(['latest', 'step-000001']);
});
