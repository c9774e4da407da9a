import type { Tensor } from '@realhf/api';
import { describe, expect, test } from 'vitest';

import { normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { logProbs } from '../logprobs/logprobs.js';
import { combinations, expectDraws, hold, sampleArgs } from './sample-checks.js';
import { sample, sampleRows } from './sample.js';
import { philox, sampleReference } from './sample.reference.js';

test('Philox2x32-10 gives the published known answers', () => {
  const hex = (x: readonly number[]) => x.map((v) => v.toString(16));
  expect(hex(philox([0, 0], 0))).toEqual(['ff1dae59', '6cd10df2']);
  expect(hex(philox([0xffffffff, 0xffffffff], 0xffffffff))).toEqual(['2c3f628b', 'ab4fd7ad']);
  expect(hex(philox([0x243f6a88, 0x85a308d3], 0x13198a2e))).toEqual(['dd7ce038', 'f62a4c12']);
});

type Tail<T extends readonly unknown[]> = T extends readonly [unknown, ...infer R] ? R : never;

onAdapters((r) => {
  const up = (data: Float32Array | Uint32Array | Int32Array) => hold(r(), data);
  const setup = (...args: Tail<Parameters<typeof sampleArgs>>) => sampleArgs(r(), ...args);
  const floats = async (t: Tensor) => new Float32Array(await r().read(t));
  const ints = async (t: Tensor) => new Int32Array(await r().read(t));
  const words = async (t: Tensor) => new Uint32Array(await r().read(t));

  describe.each(['row', 'workgroup'] as const)('by %s', (form) => {
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
          sample(r(), args, form);
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
          logProbs(
            r(),
            {
              logits: args.logits,
              labels: args.tokens,
              temperature: base.temperature,
              mask: args.maskLog,
              validVocab: valid,
              logProbs: logProb,
              lse,
            },
            form,
          );
          expect(await floats(args.logProbLog)).toEqual(await floats(logProb));
        }
    });

    test('draws pass a chi-square test for each combination of warpers', async () => {
      // Barriers are slow on software adapters: sample.slow.test.ts draws as many in the other form.
      await expectDraws(r(), form, form === 'row' ? 40 : 1);
    });

    test('greedy takes the lowest of the largest, ignores warpers, and keeps EOS out until min_new_tokens', async () => {
      const line = Float32Array.of(1, 5, 2, 5, 7, 0);
      const w = { temperature: 0.5, topK: 1, topP: 0.1, banned: 4 };
      for (const [step, token] of [
        [0, 1],
        [1, 4],
      ] as const) {
        const args = setup(line, 1, w, { greedy: true }, Uint32Array.of(step, 0, 9, 5, 10));
        sample(r(), args, form);
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
      sample(r(), args, form);
      const got = await ints(args.tokens);
      expect(got[2]).toBe(39);
      expect(got[0]).toBe(got[4]);
      const log = await ints(tokenLog);
      expect([...log.subarray(0, 5), ...log.subarray(10)]).toEqual(new Array(10).fill(-7));
      expect(log.subarray(5, 10)).toEqual(got);
      expect((await floats(logProbLog))[7]).toBe(0);
      expect([...(await words(args.state)).subarray(5, 15)]).toEqual([
        4, 0, 4, 3, 4, 3, 1, 3, 3, 3,
      ]);
      expect([...(await words(args.maskLog)).subarray(14, 16)]).toEqual([0xffffffff, 0xff]);
      const alone = setup(logits, 1, w, { seeds: up(Uint32Array.of(8)) }, state.slice(15, 20));
      sample(r(), alone, form);
      expect((await ints(alone.tokens))[0]).toBe(got[3]);
      expect((await floats(alone.logProbLog))[0]).toBe((await floats(logProbLog))[8]);
    });

    test('rows with options of their own draw as batches with those options do', async () => {
      const rand = random(9);
      const vocab = 61;
      const logits = normal(8 * vocab, rand, 2);
      const bits = new Float32Array(1);
      const bitsOf = (x: number) => {
        bits[0] = x;
        return new Uint32Array(bits.buffer)[0]!;
      };
      const kinds = [...combinations, { temperature: 1, topK: 1000, topP: 1, banned: 4 }];
      const line = (k: number) => logits.slice(k * vocab, (k + 1) * vocab);
      const words: number[] = [];
      kinds.forEach((w, k) => {
        const filter = w.topK < vocab || w.topP < 1;
        const stops = w.banned < 0 ? [] : [w.banned, 7];
        words.push(70 + k, bitsOf(1 / w.temperature), bitsOf(w.topP), bitsOf(w.topK));
        words.push(filter ? 2 : 0, 1, k === 0 ? 1 : 0, stops.length);
        words.push(...stops, ...new Array<number>(8 - stops.length).fill(0));
      });
      const n = kinds.length;
      const base = setup(logits.slice(0, n * vocab), n, combinations[0]!);
      sampleRows(r(), { ...base, options: up(Uint32Array.from(words)) }, form);
      const tokens = await ints(base.tokens);
      const state = await ints(base.state);
      for (const [k, w] of kinds.entries()) {
        const x = line(k);
        // The second stop id is kept out too.
        if (w.banned >= 0) x[7] = -3.4028234e38;
        const alone = setup(x, 1, w, { seeds: up(Uint32Array.of(70 + k)) });
        sample(r(), alone, form);
        expect(tokens[k]).toBe((await ints(alone.tokens))[0]);
        expect((await floats(base.logProbLog))[k]).toBe((await floats(alone.logProbLog))[0]);
        // Row 0 has max_new_tokens 1, the others no limit.
        expect(state[5 * k + 1]).toBe(k === 0 ? 1 : 0);
      }
      // At a stop id, whichever it is.
      const flat = new Float32Array(vocab).fill(-90);
      flat[7] = 5;
      const stop = setup(flat, 1, combinations[0]!, {}, Uint32Array.of(1, 0, 0, 0, 0));
      const last = Uint32Array.from(words.slice(16 * (n - 1)));
      sampleRows(r(), { ...stop, options: up(last) }, form);
      expect([...(await ints(stop.state))].slice(0, 2)).toEqual([2, 1]);
    });
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
