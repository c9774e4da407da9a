import type { SampleArgs, Tensor } from '@realhf/api';
import { expect, test } from 'vitest';

import { normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { logProbs } from '../logprobs/logprobs.js';
import { sample } from './sample.js';
import { philox, sampleReference, type Warpers } from './sample.reference.js';

test('Philox2x32-10 gives the published known answers', () => {
  const hex = (x: readonly number[]) => x.map((v) => v.toString(16));
  expect(hex(philox([0, 0], 0))).toEqual(['ff1dae59', '6cd10df2']);
  expect(hex(philox([0xffffffff, 0xffffffff], 0xffffffff))).toEqual(['2c3f628b', 'ab4fd7ad']);
  expect(hex(philox([0x243f6a88, 0x85a308d3], 0x13198a2e))).toEqual(['dd7ce038', 'f62a4c12']);
});

/** Upper 1e-6 quantile of chi-square with k degrees of freedom (Wilson–Hilferty). */
const chiSquareLimit = (k: number) => k * (1 - 2 / (9 * k) + 4.75 * Math.sqrt(2 / (9 * k))) ** 3;

onAdapters((r) => {
  const up = (data: Float32Array | Uint32Array | Int32Array, shape = [data.length]) => {
    const dtype =
      data instanceof Uint32Array ? 'u32' : data instanceof Int32Array ? 'i32' : ('f32' as const);
    const t = r().alloc(shape, dtype);
    r().write(t, data);
    return t;
  };
  const floats = async (t: Tensor) => new Float32Array(await r().read(t));
  const ints = async (t: Tensor) => new Int32Array(await r().read(t));
  const words = async (t: Tensor) => new Uint32Array(await r().read(t));

  /** Arguments for one step with fresh state. */
  function setup(
    logits: Float32Array,
    rows: number,
    w: Warpers,
    more: Partial<SampleArgs> = {},
    state = new Uint32Array(5 * rows),
  ) {
    const vocab = logits.length / rows;
    const wordsPerRow = Math.ceil(vocab / 32);
    return {
      logits: up(logits, [rows, vocab]),
      greedy: false,
      temperature: w.temperature,
      topP: w.topP,
      topK: w.topK,
      eosTokenId: w.banned,
      padTokenId: 0,
      minNewTokens: w.banned >= 0 ? 1 : 0,
      seeds: up(Uint32Array.from({ length: rows }, (_, i) => 1000 + i)),
      state: up(state),
      tokens: up(new Int32Array(rows).fill(-7)),
      tokenLog: up(new Int32Array(rows).fill(-7)),
      logProbLog: up(new Float32Array(rows).fill(NaN)),
      maskLog: up(new Uint32Array(rows * wordsPerRow)),
      logStep: 0,
      ...more,
    } satisfies SampleArgs;
  }

  const combinations: Warpers[] = [
    { temperature: 1, topK: 1000, topP: 1, banned: -1 },
    { temperature: 0.6, topK: 1000, topP: 1, banned: 3 },
    { temperature: 1, topK: 7, topP: 1, banned: -1 },
    { temperature: 1.4, topK: 1000, topP: 0.8, banned: -1 },
    { temperature: 0.9, topK: 9, topP: 0.7, banned: 2 },
  ];

  test('kept sets are those of a sorted f64 reference, log-probs bit-equal to logProbs with the mask', async () => {
    const rand = random(4);
    const rows = 24;
    for (const [vocab, valid] of [
      [33, 33],
      [257, 251],
    ] as const)
      for (const base of [
        ...combinations,
        { temperature: 1, topK: 1, topP: 0.99, banned: -1 },
        { temperature: 0.3, topK: 40, topP: 0.05, banned: 5 },
        { temperature: 2, topK: 1000, topP: 0.9999999, banned: -1 },
      ]) {
        const logits = normal(rows * vocab, rand, 3);
        // A third of the rows has many ties, one is constant.
        for (let i = 0; i < rows; i += 3)
          for (let j = 0; j < vocab; j++)
            logits[i * vocab + j] = i === 0 ? 0 : Math.round(logits[i * vocab + j]! / 2);
        const args = setup(logits, rows, base, { validVocab: valid });
        sample(r(), args);
        const tokens = await ints(args.tokens);
        const mask = await words(args.maskLog);
        const perRow = Math.ceil(vocab / 32);
        for (let i = 0; i < rows; i++) {
          const want = sampleReference(logits.subarray(i * vocab, i * vocab + valid), base);
          for (let j = 0; j < vocab; j++) {
            const got = ((mask[i * perRow + (j >> 5)]! >>> (j & 31)) & 1) === 1;
            if (j < valid && Math.abs(want.margin[j]!) < 2e-6) continue;
            if (got !== (j < valid && want.kept[j]))
              throw new Error(
                `row ${i} column ${j} of ${valid}: kept ${got}, ${JSON.stringify(base)}`,
              );
          }
          expect((mask[i * perRow + (tokens[i]! >> 5)]! >>> (tokens[i]! & 31)) & 1).toBe(1);
        }
        const [logProb, lse] = [r().alloc([rows]), r().alloc([rows])];
        logProbs(r(), {
          logits: args.logits,
          labels: args.tokens,
          temperature: base.temperature,
          mask: args.maskLog,
          validVocab: valid,
          logProbs: logProb,
          lse,
        });
        expect(await floats(args.logProbLog)).toEqual(await floats(logProb));
      }
  });

  test('20,480 draws pass a chi-square test for each combination of warpers', async () => {
    const rand = random(8);
    const [rows, vocab, steps] = [512, 23, 40];
    const line = normal(vocab, rand, 1.5);
    line[11] = line[4]!;
    const logits = new Float32Array(rows * vocab);
    for (let i = 0; i < rows; i++) logits.set(line, i * vocab);
    for (const w of combinations) {
      const tokenLog = up(new Int32Array(rows * steps), [steps, rows]);
      const logProbLog = up(new Float32Array(rows * steps), [steps, rows]);
      const args = setup(logits, rows, w, { minNewTokens: 1000, tokenLog, logProbLog });
      for (let step = 0; step < steps; step++)
        sample(r(), {
          ...args,
          maskLog: r().alloc([steps * rows], 'u32'),
          logStep: step,
        });
      const counts = new Float64Array(vocab);
      for (const t of await ints(tokenLog)) counts[t]!++;
      const { probs, kept } = sampleReference(line, w);
      let chi = 0;
      let degrees = -1;
      for (let j = 0; j < vocab; j++) {
        if (!kept[j]) expect(counts[j]).toBe(0);
        else {
          const expected = probs[j]! * rows * steps;
          chi += (counts[j]! - expected) ** 2 / expected;
          degrees++;
        }
      }
      expect(degrees).toBeGreaterThan(2);
      expect(chi).toBeLessThan(chiSquareLimit(degrees));
    }
  });

  test('greedy takes the lowest of the largest, ignores warpers, and keeps EOS out until min_new_tokens', async () => {
    const line = Float32Array.of(1, 5, 2, 5, 7, 0);
    const w = { temperature: 0.5, topK: 1, topP: 0.1, banned: 4 };
    for (const [step, token] of [
      [0, 1],
      [1, 4],
    ] as const) {
      const args = setup(line, 1, w, { greedy: true }, Uint32Array.of(step, 0, 9, 5, 10));
      sample(r(), args);
      expect([...(await ints(args.tokens))]).toEqual([token]);
      const others = step === 0 ? [1, 5, 2, 5, 0] : [...line];
      const lse = Math.log(others.reduce((a, x) => a + Math.exp(x), 0));
      expect((await floats(args.logProbLog))[0]).toBeCloseTo(line[token]! - lse, 5);
      expect([...(await words(args.state))]).toEqual([step + 1, token === 4 ? 1 : 0, 10, 5, 11]);
    }
  });

  test('finished rows emit PAD and stand still; draws depend on seed and step only', async () => {
    const rand = random(2);
    const [rows, vocab] = [5, 40];
    const logits = normal(vocab, rand);
    const many = new Float32Array(rows * vocab);
    for (let i = 0; i < rows; i++) many.set(logits, i * vocab);
    const w = { temperature: 1, topK: 30, topP: 0.95, banned: -1 };
    const state = new Uint32Array(5 * rows).fill(3);
    for (let i = 0; i < rows; i++) state[5 * i + 1] = i === 2 ? 1 : 0;
    const seeds = up(Uint32Array.of(5, 6, 7, 8, 5));
    const tokenLog = up(new Int32Array(3 * rows).fill(-7));
    const logProbLog = up(new Float32Array(3 * rows).fill(NaN));
    const args = setup(
      many,
      rows,
      w,
      {
        seeds,
        tokenLog,
        logProbLog,
        maskLog: up(new Uint32Array(3 * rows * 2)),
        logStep: 1,
        padTokenId: 39,
      },
      state,
    );
    sample(r(), args);
    const got = await ints(args.tokens);
    expect(got[2]).toBe(39);
    expect(got[0]).toBe(got[4]);
    const log = await ints(tokenLog);
    expect([...log.subarray(0, 5), ...log.subarray(10)]).toEqual(new Array(10).fill(-7));
    expect(log.subarray(5, 10)).toEqual(got);
    expect((await floats(logProbLog))[7]).toBe(0);
    expect([...(await words(args.state)).subarray(5, 15)]).toEqual([4, 0, 4, 3, 4, 3, 1, 3, 3, 3]);
    expect([...(await words(args.maskLog)).subarray(14, 16)]).toEqual([0xffffffff, 0xff]);
    const alone = setup(logits, 1, w, { seeds: up(Uint32Array.of(8)) }, state.slice(15, 20));
    sample(r(), alone);
    expect((await ints(alone.tokens))[0]).toBe(got[3]);
    expect((await floats(alone.logProbLog))[0]).toBe((await floats(logProbLog))[8]);
  });

  test('bad arguments are refused', () => {
    const w = { temperature: 1, topK: 0, topP: 1, banned: -1 };
    const args = setup(new Float32Array(8), 2, w);
    expect(() => {
      sample(r(), args);
    }).toThrow(/topK 0/);
    expect(() => {
      sample(r(), { ...args, topK: 1, logStep: 1 });
    }).toThrow(/too small/);
  });
});
