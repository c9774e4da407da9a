/** Statistics of groups in parts on data-parallel ranks against the same batch on one. */
import { SequenceSample } from '@realhf/api';
import { loopbackCommunicators } from '@realhf/comm';
import { expect, it } from 'vitest';

import { scoresOverRanks, statsOverRanks, whitenedOverRanks } from './over-ranks.js';

/** What every rank gets. */
function onRanks<T>(n: number, run: (engine: Engine, rank: number) => Promise<T>): Promise<T[]> {
  const ranks = loopbackCommunicators(n, { timeoutMs: 2000 });
  const engines = ranks.map((c): Engine => ({ overData: (values, op) => c.allReduce(values, op) }));
  return Promise.all(engines.map(run));
}
interface Engine {
  overData(values: Float64Array, op: 'sum' | 'max'): Promise<void>;
}

it('counts are added, means weigh by tokens or by answers', async () => {
  const own = [
    { n_tokens: 2, n_seqs: 2, kl: 1, task_reward: 5 },
    { n_tokens: 6, n_seqs: 8, kl: 2, task_reward: 0 },
  ];
  const want = { n_tokens: 8, n_seqs: 10, kl: 1.75, task_reward: 1 };
  expect(await onRanks(2, (engine, r) => statsOverRanks(engine, own[r]!))).toEqual([want, want]);
  expect(await statsOverRanks({}, own[0]!)).toBe(own[0]);
});

it('mean and deviation of all scores; one rank reckons for itself', async () => {
  const scores = [Float32Array.of(1, 2), Float32Array.of(6)];
  const want = { mean: 3, std: Math.sqrt(7) };
  expect(await onRanks(2, (engine, r) => scoresOverRanks(engine, scores[r]!))).toEqual([
    want,
    want,
  ]);
  expect(await scoresOverRanks({}, scores[0]!)).toBeUndefined();
});

it('advantages are whitened over all ranks', async () => {
  const parts = [
    [1, 9, 3],
    [5, 7, 9],
  ].map(
    (advantages) =>
      new SequenceSample({
        ids: ['a'],
        seqlens: { advantages: [[3]], ppo_loss_mask: [[3]] },
        data: { advantages: Float32Array.from(advantages), ppo_loss_mask: Uint8Array.of(1, 0, 1) },
        dtypes: { advantages: 'f32', ppo_loss_mask: 'u8' },
        trailingShapes: { advantages: [], ppo_loss_mask: [] },
      }),
  );
  const got = await onRanks(2, (engine, r) => whitenedOverRanks(engine, parts[r]!));
  // 1, 3, 5, 9: mean 4.5, variance 8.75.
  const all = got.flatMap((s) => Array.from(s.f32('advantages')));
  [1, NaN, 3, 5, NaN, 9].forEach((x, i) => {
    expect(all[i]).toBeCloseTo(Number.isNaN(x) ? 0 : (x - 4.5) / Math.sqrt(8.75), 4);
  });
});
