/**
 * Grids whose ranks have uneven work: data-parallel parts of one sequence, none and several; microbatches of a generation
 * that end early. And transports whose sends wait for their receiver.
 */
import type { GenerateOutput } from '@realhf/api';
import { NetworkEngine } from '@realhf/backends';
import { expect, test } from 'vitest';

import { expectTensorsClose, gpt2, llama, makeRanks, tokensSample, useOps } from './harness.js';
import { layoutOf } from './parallel-grid.js';
import { blockingRanks, done, paramsOf, step, steps, trained } from './parallel-ranks.js';
import { likelihood, release } from './parallel-suite.js';

const ops = useOps();
const config = gpt2({ vocabSize: 131 });
const sample = tokensSample(config, [7, 5, 9, 4, 6]);

test('data-parallel ranks with one sequence, with none, and with more make the step of one rank', async () => {
  const one = trained(makeRanks(ops(), config));
  const many = trained(makeRanks(ops(), config, layoutOf('d3m1p2')));
  const cuts: [number, number][] = [
    [0, 1],
    [1, 5],
    [5, 5],
  ];
  const parts = many.map(({ model }) => sample.slice(...cuts[model.groups.coordinates.dp]!));
  for (let s = 0; s < 2; s++) {
    const want = await one[0]!.engine.trainBatch(sample, likelihood, { versionSteps: s, nMbs: 2 });
    for (const got of await step(many, parts, s)) {
      expect(got).toMatchObject({ status: 'fulfilled' });
      if (got.status === 'fulfilled')
        for (const [k, v] of Object.entries(want)) expect(got.value[k], k).toBeCloseTo(v, 5);
    }
  }
  expectTensorsClose(await paramsOf(many), await paramsOf(one), 1e-5);
  // ZeRO-1: a third of the moments each.
  const { m } = await many[0]!.engine.saveState();
  const all = many[0]!.model.params.reduce((n, p) => n + p.size, 0);
  expect(3 * m.reduce((n, x) => n + x.length, 0)).toBe(all);
  done(one, many);
});

test.each(['d1m1p2', 'd1m1p3'])('%s trains with sends that block', async (name) => {
  const blocking = blockingRanks(ops(), config, layoutOf(name));
  const one = trained(makeRanks(ops(), config));
  await steps(blocking, sample, 0, 1);
  await steps(one, sample, 0, 1);
  expectTensorsClose(await paramsOf(blocking), await paramsOf(one), 1e-5);
  done(blocking, one);
});

test.each(['d1m1p2', 'd1m1p3'])(
  '%s drops microbatches whose sequences have ended, with sends that block',
  async (name) => {
    const model = llama({ nLayers: 3 });
    let sent = 0;
    const many = blockingRanks(ops(), model, layoutOf(name), () => sent++);
    const [one] = makeRanks(ops(), model);
    const prompts = tokensSample(model, [4, 6, 3, 5]).remapKeys({
      packed_input_ids: 'packed_prompts',
    });
    const generate = (engine: NetworkEngine, eosTokenId: number | null) =>
      engine.generate(
        prompts,
        {
          max_new_tokens: 17,
          min_new_tokens: 0,
          greedy: true,
          top_p: 1,
          top_k: model.vocabSize,
          temperature: 1,
          force_no_logits_mask: true,
        },
        { eosTokenId, padTokenId: 0, seed: 3, nMbs: 4 },
      );
    const alone = new NetworkEngine(one!);
    const free = await generate(alone, null);
    const check = async (eosTokenId: number | null): Promise<GenerateOutput> => {
      const want = await generate(alone, eosTokenId);
      sent = 0;
      for (const got of await Promise.all(many.map((r) => generate(r.engine, eosTokenId)))) {
        expect(got.tokens).toEqual(want.tokens);
        expect(got.noEos).toEqual(want.noEos);
      }
      return want;
    };
    await check(null);
    const all = sent;
    const early = await check(free.tokens[0]![2]!);
    expect(early.noEos[0]).toBe(false);
    expect(sent).toBeLessThan(all - 20);
    release(one!);
    done(many);
  },
);
