import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { useFolder } from '../e2e/tiny.js';
import { configOf, testContext } from '../experiments/test-run.js';
import { splitArguments } from '../options/parse.js';
import { lineChart } from '../quickstart/chart.js';
import { compareCommand } from './command.js';
import { direction } from './comparison.js';
import { readRun } from './read-run.js';

const dir = useFolder();

/** A run of n steps as `real` leaves it. */
function writeRun(trial: string, n: number, { lr = 1e-5, tail = '', nan = -1 } = {}): string {
  const path = join(dir, 'runs', 'exp', trial);
  mkdirSync(path, { recursive: true });
  writeFileSync(
    join(path, 'config.yaml'),
    `experiment_name: exp\ntrial_name: ${trial}\nseed: 1\nactor:\n  optimizer:\n    lr: ${lr}\n`,
  );
  const lines = Array.from({ length: n }, (_, i) => {
    const loss = 1 / (i + 1) + (i === n - 1 ? 1 : 0);
    const half = { reward: i, reward_low: i - 0.5, reward_high: i + 0.5 };
    return JSON.stringify({
      step: i + 1,
      stepSeconds: 2,
      stats: { actor_train: { loss: i === nan ? null : loss, kl: 0.1 } },
      seconds: { actor_train: 1 },
      tokens: { actor_gen: 60, actor_train: 100 },
      ...(i % 2 === 1 ? { eval: { 'actor@0': half } } : {}),
    });
  });
  writeFileSync(join(path, 'metrics.jsonl'), `${lines.join('\n')}\n${tail}`);
  return path;
}
const compare = async (...words: string[]) => {
  const context = testContext();
  const { assignments } = splitArguments(words, compareCommand.positional, compareCommand.flags);
  const given = [...assignments].map(([k, v]) => `${k}=${v}`);
  await compareCommand.run(configOf(compareCommand.schema, given), context);
  return context.printed();
};

describe('real compare', () => {
  it('prints finals, bests, intervals, speed and the options that differ', async () => {
    const out = join(dir, 'page.html');
    const text = await compare(writeRun('a', 6), writeRun('b', 4, { lr: 0.5 }), `out=${out}`);
    const rows = new Map(text.split('\n').map((l) => [l.split(/ {2,}/)[0], l.split(/ {2,}/)]));
    expect(rows.get('run')).toEqual(['run', 'exp/a', 'exp/b']);
    expect(rows.get('steps')).toEqual(['steps', '6', '4']);
    expect(rows.get('tokens/s')).toEqual(['tokens/s', '50', '50']);
    expect(rows.get('eval/actor@0/reward')).toEqual([
      'eval/actor@0/reward',
      '5 [4.5, 5.5]',
      '3 [2.5, 3.5]',
    ]);
    expect(text).toMatch(/actor_train\/loss +1\.167 {2}best 0\.2 at 5/);
    expect(rows.get('actor.optimizer.lr')).toEqual(['actor.optimizer.lr', '0.00001', '0.5']);
    expect(rows.has('seed')).toBe(false);
    const page = readFileSync(out, 'utf8');
    expect(page.match(/<svg/g)).toHaveLength(3);
    expect(page).toContain('fill-opacity');
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('reads a run that is being written, and one of no step', async () => {
    const live = writeRun('live', 2, { tail: '{"step":3,"sta', nan: 0 });
    const fresh = writeRun('fresh', 0);
    writeFileSync(join(fresh, 'metrics.jsonl'), '');
    expect(readRun(live, 'x').steps).toBe(2);
    const text = await compare(live, fresh, `out=${join(dir, 'live.html')}`);
    expect(text).toMatch(/steps +2 +0/);
    expect(readFileSync(join(dir, 'live.html'), 'utf8')).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('says in one line what is no run', async () => {
    await expect(compare(writeRun('a', 2))).rejects.toThrow('name two or more');
    await expect(compare(writeRun('a', 2), dir)).rejects.toThrow(
      `${dir} is no directory of a run: it has no config.yaml`,
    );
    await expect(compare('nothing/here', dir, `fileroot=${dir}`)).rejects.toThrow(
      "no run 'nothing/here'",
    );
    await expect(compare(writeRun('bad', 1, { tail: 'x\n' }), writeRun('a', 2))).rejects.toThrow(
      /metrics\.jsonl:2 is no record/,
    );
  });

  it('knows which way a metric is better', () => {
    expect(['rwTrain/acc', 'eval/actor@0/reward', 'x/task_reward'].map(direction)).toEqual([
      1, 1, 1,
    ]);
    expect(['trainDefault/loss', 'actor_train/actor_loss'].map(direction)).toEqual([-1, -1]);
    expect(['actor_train/kl', 'x/lr', 'x/grad_norm'].map(direction)).toEqual([0, 0, 0]);
  });

  it('draws sparse values at their steps', () => {
    const svg = lineChart('x', [
      { label: 'a', color: 'red', values: [0, 1], steps: [5, 10] },
      { label: 'b', color: 'blue', values: [1], steps: [20] },
    ]);
    expect(svg).toContain('M52.0 184.0L170.7 30.0');
    expect(svg).toContain('<circle cx="408.0"');
  });
});
