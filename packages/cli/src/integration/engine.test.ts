/** The generation engine: a sequence's bits never depend on what runs beside it, budgets hold, callers get what they asked for. */
import type { GenerationHyperparameters } from '@realhf/api';
import { GenerationEngine, type GeneratedSequence, type GenerationRequest } from '@realhf/model';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { llama, makeModel, onEveryAdapter, uniform, useOps } from './harness.js';

const hyper = (change: Partial<GenerationHyperparameters> = {}): GenerationHyperparameters => ({
  max_new_tokens: 9,
  min_new_tokens: 0,
  greedy: false,
  top_p: 1,
  top_k: 1000,
  temperature: 1,
  force_no_logits_mask: false,
  ...change,
});

/** Prompts of 1 to 30 tokens, some equal, some with a common beginning, each with options of its own. */
function someRequests(n: number): GenerationRequest[] {
  const u = uniform(3);
  const common = Int32Array.from({ length: 30 }, () => 2 + Math.floor(u() * 100));
  const options = [
    hyper(),
    hyper({ greedy: true }),
    hyper({ temperature: 2.5, top_k: 7 }),
    hyper({ temperature: 0.8, top_p: 0.7, min_new_tokens: 3, max_new_tokens: 5 }),
    hyper({ max_new_tokens: 1 }),
  ];
  return Array.from({ length: n }, (_, i) => {
    const length = i % 3 === 0 ? 21 : 1 + Math.floor(u() * 29);
    const prompt = common.slice(0, length);
    if (i % 3 === 2) prompt[Math.floor(length / 2)] = 2 + i;
    const gconfig = options[i % options.length]!;
    return {
      prompt,
      gconfig,
      seed: 1000 + i,
      stopIds: [1, 5, 17, 33, 47, 64, 90, 111],
      recordKept: i % 2 === 0,
    };
  });
}

await onEveryAdapter((ops) => {
  test('tokens, log-probs and kept sets are the same whatever the order of arrival and the budgets', async () => {
    const model = makeModel(ops(), llama({ slidingWindow: undefined }));
    const requests = someRequests(11);
    const alone: GeneratedSequence[] = [];
    for (const r of requests) {
      const engine = new GenerationEngine(model, { kvTokens: 64, stepsPerRead: 3 });
      alone.push(await engine.submit(r).result());
      engine.free();
    }
    expect(new Set(alone.map((a) => a.finish))).toEqual(new Set(['stop', 'length']));
    const cases = fc.record({
      pageSize: fc.constantFrom(4, 16),
      kvTokens: fc.integer({ min: 48, max: 300 }),
      maxSequences: fc.integer({ min: 1, max: 12 }),
      prefillTokens: fc.integer({ min: 3, max: 90 }),
      stepsPerRead: fc.integer({ min: 1, max: 10 }),
      chunksPerRound: fc.constantFrom(1, 2, Infinity),
      order: fc.shuffledSubarray(
        requests.map((_, i) => i),
        { minLength: 1 },
      ),
      /** Rounds' worth of events of the first one before each submission. */
      pauses: fc.array(fc.nat(2), { minLength: 11, maxLength: 11 }),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ order, pauses, ...options }) => {
        const engine = new GenerationEngine(model, options);
        const results: Promise<GeneratedSequence>[] = [];
        for (const [k, i] of order.entries()) {
          const generation = engine.submit(requests[i]!);
          results.push(generation.result());
          const events = generation[Symbol.asyncIterator]();
          for (let p = pauses[k]!; p > 0; p--) await events.next();
        }
        const done = await Promise.all(results);
        order.forEach((i, k) => {
          expect(done[k]).toEqual(alone[i]);
        });
        await engine.run();
        engine.free();
      }),
      { seed: 4, numRuns: 8 },
    );
    model.free();
  });
});

describe('on swiftshader', () => {
  const ops = useOps();

  test('a group with one prompt runs it once; the budget holds and the rest waits', async () => {
    const model = makeModel(ops(), llama());
    const prompt = Int32Array.from({ length: 21 }, (_, i) => 2 + i);
    const request = (seed: number) => ({ prompt, gconfig: hyper(), seed });
    const engine = new GenerationEngine(model, { kvTokens: 400, prefillTokens: 64 });
    const all = Array.from({ length: 8 }, (_, i) => engine.submit(request(i)));
    await engine.run();
    expect(engine.counts).toMatchObject({ promptTokens: 21, sharedTokens: 7 * 21 });
    expect(
      new Set((await Promise.all(all.map((g) => g.result()))).map((r) => r.tokens.join())).size,
    ).toBeGreaterThan(4);
    engine.free();

    // 2 layers × 2 × 2 heads × 16 × 4 bytes a token: four pages, room for two sequences of two.
    const bytes = 4 * 16 * 512;
    const small = new GenerationEngine(model, { kvBytes: bytes });
    expect(small.kvBytes).toBe(bytes);
    const tall = Array.from({ length: 5 }, (_, i) =>
      small.submit({ ...request(i), prompt: prompt.map((t) => t + i) }),
    );
    const order: number[] = [];
    const most: number[] = [];
    await Promise.all(
      tall.map(async (g, i) => {
        for await (const event of g) {
          most.push(small.running);
          if (event.finish) order.push(i);
        }
      }),
    );
    expect(Math.max(...most)).toBe(2);
    expect(order.indexOf(0)).toBeLessThan(order.indexOf(2));
    expect(order.indexOf(2)).toBeLessThan(order.indexOf(4));
    expect(() =>
      small.submit({ prompt, gconfig: hyper({ max_new_tokens: 43 }), seed: 1 }),
    ).not.toThrow();
    await small.run();
    small.free();
    const tiny = new GenerationEngine(model, { kvBytes: bytes / 4 });
    expect(() => tiny.submit(request(1))).toThrow('need 2 pages of 16 tokens, the KV budget has 1');
    tiny.free();
    expect(() => new GenerationEngine(model, { kvBytes: 100 })).toThrow('holds no page');
    model.free();
  });

  test('stop strings cut text before them and tokens after them; cancelled sequences give their memory back', async () => {
    const model = makeModel(ops(), llama());
    const engine = new GenerationEngine(model, {
      kvTokens: 200,
      decode: (ids) => ids.map((t) => `<${t}>`).join(''),
    });
    const base = {
      prompt: Int32Array.of(9, 8, 7),
      gconfig: hyper({ max_new_tokens: 30 }),
      seed: 3,
    };
    const free = await engine.submit(base).result();
    expect(free.text).toBe([...free.tokens].map((t) => `<${t}>`).join(''));
    const at = free.tokens.findIndex((t, i) => i >= 4 && free.tokens.indexOf(t) === i);
    const stop = `${free.tokens[at]!}>`;
    const cut = await engine.submit({ ...base, stopStrings: ['never', stop] }).result();
    expect(cut.tokens).toEqual(free.tokens.subarray(0, at + 1));
    expect(cut.logProbs).toEqual(free.logProbs.subarray(0, at + 1));
    expect(cut.finish).toBe('stop');
    expect(free.text!.startsWith(cut.text!)).toBe(true);
    expect(cut.text).not.toContain(stop);

    const abort = new AbortController();
    const long = engine.submit({ ...base, signal: abort.signal });
    const waiting = engine.submit(base);
    const left = engine.submit({ ...base, seed: 4 });
    waiting.cancel();
    for await (const event of long) {
      expect(event.tokens.length).toBeGreaterThanOrEqual(0);
      abort.abort();
    }
    expect((await long.result()).finish).toBe('cancelled');
    expect((await long.result()).tokens.length).toBeLessThan(30);
    expect((await waiting.result()).finish).toBe('cancelled');
    expect((await left.result()).tokens.length).toBe(30);
    expect([engine.running, engine.waiting]).toEqual([0, 0]);
    const { live } = ops().memory();
    await engine.submit(base).result();
    await engine.run();
    expect(ops().memory().live).toBe(live);
    engine.free();
    model.free();
  });
});
