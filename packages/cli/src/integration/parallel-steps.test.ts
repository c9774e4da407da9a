/** Optimizer steps of grids of ranks: what one rank finds wrong stops all of them; a state goes on in another layout. */
import { DataError, RealError, type Loss } from '@realhf/api';
import { recutState } from '@realhf/backends';
import { expect, test } from 'vitest';

import {
  expectTensorsClose,
  gpt2,
  makeRanks,
  randomParams,
  tokensSample,
  useOps,
} from './harness.js';
import { layoutOf, partsOf } from './parallel-grid.js';
import { done, modelsOf, paramsOf, statesOf, step, steps, trained } from './parallel-ranks.js';
import { likelihood } from './parallel-suite.js';

const ops = useOps();
const config = gpt2({ vocabSize: 131 });
const sample = tokensSample(config, [7, 5, 9, 4, 6]);

test('what goes wrong on one rank stops all of them before any parameter changes', async () => {
  const ranks = trained(makeRanks(ops(), config, layoutOf('d2m1p2')));
  const parts = partsOf(modelsOf(ranks), sample);
  await step(ranks, parts, 0);
  const before = await statesOf(ranks);
  const bad: Loss = {
    ...likelihood,
    compute: (x) => ({
      ...likelihood.compute(x),
      ...(x.sample.ids.includes('s0') ? { loss: NaN } : {}),
    }),
  };
  const exploding: Loss = {
    ...likelihood,
    compute: (x) => ({
      ...likelihood.compute(x),
      ...(x.sample.ids.includes('s4') ? { dLogProbs: x.logProbs!.map(() => Infinity) } : {}),
    }),
  };
  for (const loss of [bad, exploding])
    for (const r of await step(ranks, parts, 1, loss)) {
      expect(r.status).toBe('rejected');
      if (r.status === 'rejected') {
        expect(RealError.is(r.reason)).toBe(true);
        expect((r.reason as Error).message).toMatch(/parameters were not changed/);
      }
    }
  const failing: Loss = {
    ...likelihood,
    compute: (x) => {
      if (x.sample.ids.includes('s0')) throw new DataError('s0 has no reward');
      return likelihood.compute(x);
    },
  };
  const reasons = (await step(ranks, parts, 1, failing)).map((r) =>
    r.status === 'rejected' ? (r.reason as Error).message : 'no error',
  );
  // Ranks in the order (pp, dp): the first part is on the third rank's last stage.
  for (const [r, reason] of reasons.entries())
    expect(reason).toMatch(r === 2 ? /^s0 has no reward$/ : /on another rank/);
  expect(await statesOf(ranks)).toEqual(before);
  // An early stop on the mean over all ranks.
  const stop: Loss = { ...likelihood, skipStep: (s) => (s.nll! > 0 ? 'far' : undefined) };
  for (const r of await step(ranks, parts, 1, stop))
    expect(r).toMatchObject({ status: 'fulfilled', value: { skipped: 1 } });
  expect(await statesOf(ranks)).toEqual(before);
  done(ranks);
});

test('stages that get different sequences say so', async () => {
  const ranks = trained(makeRanks(ops(), config, layoutOf('d1m1p2')));
  const parts = [sample, sample.slice(0, 4)];
  for (const r of await step(ranks, parts, 0)) {
    expect(r.status).toBe('rejected');
    if (r.status === 'rejected')
      expect((r.reason as Error).message).toMatch(/stage 0 has microbatches of \[.*\] tokens/);
  }
  done(ranks);
});

test('a state saved under d2m2p1 goes on under d1m1p2 and, bit by bit, under d2m2p1', async () => {
  const params = randomParams(config, ops(), 3);
  const start = (name: string) => trained(makeRanks(ops(), config, layoutOf(name), { params }));
  const whole = start('d2m2p1');
  const same = start('d2m2p1');
  const others = [start('d1m1p2'), start('d1m1p1')];
  await steps(whole, sample, 0, 2);
  const pieces = await Promise.all(
    whole.map(async ({ engine }) => ({ maps: engine.stateMaps, state: await engine.saveState() })),
  );
  for (const { engine } of [same, ...others].flat())
    engine.loadState(recutState(engine.stateMaps, pieces));
  expect(await statesOf(same)).toEqual(pieces.map((p) => p.state));
  for (const ranks of [whole, same, ...others]) await steps(ranks, sample, 2, 4);
  const want = await paramsOf(whole);
  expect(await paramsOf(same)).toEqual(want);
  for (const ranks of others) expectTensorsClose(await paramsOf(ranks), want, 1e-6);

  const { stateMaps } = same[0]!.engine;
  const [first] = pieces;
  expect(() => recutState(stateMaps, pieces.slice(1))).toThrow(/the saved m of '.*' lack element/);
  expect(() => recutState(stateMaps, [])).toThrow(/states of steps \(none\)/);
  const late = { ...first!, state: { ...first!.state, steps: 9 } };
  expect(() => recutState(stateMaps, [...pieces, late])).toThrow(/2, 2, 2, 2, 9/);
  const torn = { ...first!, state: { ...first!.state, v: [new Float32Array(1)] } };
  expect(() => recutState(stateMaps, [torn, ...pieces.slice(1)])).toThrow(/less than its map says/);
  done(whole, same, ...others);
});
