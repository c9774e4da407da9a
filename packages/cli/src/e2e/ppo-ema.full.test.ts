/** A reference that follows the actor between two workers' layouts: the numbers of one process, and an exact resume. */
import { expect, it } from 'vitest';

import { metricsOf } from '../experiments/test-run.js';
import { useReal } from './real-process.js';
import { layoutWords, ppoOnLm, runToEnd, writeRuntimeInputs } from './runtime-suite.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
const words = [
  'ppo-ema',
  'experiment_name=ppo-ema',
  ...ppoOnLm
    .slice(2)
    .filter((w) => !w.startsWith('exp_ctrl.'))
    .map((w) => w.replace('config=lm', 'config=one')),
  'ref_ema_eta=0.3',
  'exp_ctrl.save_freq_steps=1',
  'recover_mode=auto',
];
const many = layoutWords('d2m1p1');
const run = async (trial: string, steps: number, ...more: string[]) =>
  metricsOf(
    await runToEnd(start, cwd, [...words, `exp_ctrl.benchmark_steps=${steps}`, ...more], trial),
    'actor_train',
  );

it('two workers average as one process does, and resume with the reference that they had', async () => {
  writeRuntimeInputs(cwd);
  const alone = await run('alone', 3);
  const both = await run('both', 3, ...many);
  await run('cut', 2, ...many);
  const cut = await run('cut', 3, ...many);
  // The reference is where the actor was, more or less, and not where it began.
  expect(Math.abs(both[2]!.kl!)).toBeGreaterThan(1e-5);
  for (const name of ['kl', 'loss', 'task_reward', 'grad_norm']) {
    expect(cut.map((s) => s[name])).toEqual(both.map((s) => s[name]));
    both.forEach((s, i) => {
      expect(s[name], `${name} of step ${i + 1}`).toBeCloseTo(alone[i]![name]!, 4);
    });
  }
});
