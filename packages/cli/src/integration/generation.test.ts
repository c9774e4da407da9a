/** Generation against recomputation: log-probs bit for bit, greedy tokens without a cache, stops, seeds, errors. */
import {
  SequenceSample,
  type GenerateOutput,
  type GenerationHyperparameters,
  type ModelConfig,
} from '@realhf/api';
import { NetworkEngine, type WebGpuOps } from '@realhf/backends';
import { rollout } from '@realhf/model';
import { describe, expect, test } from 'vitest';

import { gpt2, llama, makeModel, onEveryAdapter, tokensSample, useOps } from './harness.js';

const hyper = (change: Partial<GenerationHyperparameters> = {}): GenerationHyperparameters => ({
  max_new_tokens: 12,
  min_new_tokens: 0,
  greedy: false,
  top_p: 1,
  top_k: 128,
  temperature: 1,
  force_no_logits_mask: false,
  ...change,
});

function promptsOf(config: ModelConfig, lengths: readonly number[], seed = 5): SequenceSample {
  return tokensSample(config, lengths, seed)
    .remapKeys({ packed_input_ids: 'packed_prompts' })
    .select(['packed_prompts']);
}

function generate(
  engine: NetworkEngine,
  prompts: SequenceSample,
  g: GenerationHyperparameters,
  seed = 7,
): Promise<GenerateOutput> {
  return engine.generate(prompts, g, { eosTokenId: 1, padTokenId: null, seed });
}

/** Log-probs of the sampled tokens, computed as training does from the rollout. */
async function recomputed(
  engine: NetworkEngine,
  prompts: SequenceSample,
  out: GenerateOutput,
  temperature: number,
): Promise<{ sampled: Float32Array; again: Float32Array }> {
  const sample = rollout(prompts, out, {
    logitsMask: out.masks !== undefined,
  });
  const again = await engine.logProbs(sample, {
    temperature,
    ...(out.masks ? { maskKey: 'packed_logits_mask' } : {}),
  });
  const sampled = sample.f32('packed_logprobs');
  const cu = sample.cuSeqlens('packed_input_ids');
  const mask = sample.u8('prompt_mask');
  for (let s = 0; s + 1 < cu.length; s++)
    for (let t = cu[s]! + 1; t < cu[s + 1]!; t++) if (mask[t]) again[t - 1 - s] = 0;
  return { sampled, again };
}

const warps: Readonly<Record<string, Partial<GenerationHyperparameters>>> = {
  plain: {},
  'temperature 0.7': { temperature: 0.7 },
  'top-k 5': { top_k: 5 },
  'top-p 0.8': { top_p: 0.8 },
  'all of them with min_new_tokens': {
    temperature: 1.3,
    top_k: 40,
    top_p: 0.8,
    min_new_tokens: 6,
  },
};

function ratioIsOne(
  ops: () => WebGpuOps,
  config: ModelConfig,
  names: readonly string[] = Object.keys(warps),
): void {
  test.each(names)(`${config.family}, %s: recomputed log-probs are the same bits`, async (name) => {
    const model = makeModel(ops(), config);
    const engine = new NetworkEngine(model);
    const g = hyper(warps[name]);
    // Many tokens when recomputed, few rows when decoded: other forms of the kernels, the same bits.
    const prompts = promptsOf(
      config,
      Array.from({ length: 24 }, (_, i) => 1 + (i % 20)),
    );
    const out = await generate(engine, prompts, g);
    if (/top|all/.test(name)) expect(out.masks).toBeDefined();
    const { sampled, again } = await recomputed(engine, prompts, out, g.temperature);
    expect(again).toEqual(sampled);
    expect(sampled.some((x) => x < 0)).toBe(true);
    model.free();
  });
}

await onEveryAdapter((ops) => {
  ratioIsOne(ops, llama());
});

describe('on swiftshader', () => {
  const ops = useOps();
  // Neither a multiple of four nor of a mask word, as GPT-2's 50257.
  ratioIsOne(ops, gpt2({ vocabSize: 101 }));
  // A window shorter than prompts and answers, norms of heads.
  ratioIsOne(ops, llama({ family: 'mistral', slidingWindow: 7 }), ['plain']);
  ratioIsOne(ops, llama({ family: 'qwen3', qkNorm: true }), ['plain']);

  test('a window limits what a token depends on', async () => {
    const window = 5;
    const ids = Int32Array.from({ length: 20 }, (_, i) => 2 + i);
    const other = ids.with(0, 90);
    const logits = async (nLayers: number, tokens: Int32Array) => {
      const model = makeModel(ops(), llama({ nLayers, slidingWindow: window }));
      const pass = await model.forward(
        { tokens, cuSeqlens: Int32Array.of(0, tokens.length) },
        { train: false, logits: true },
      );
      model.free();
      return pass.output!.logits!;
    };
    const n = llama().vocabSize;
    for (const nLayers of [1, 2]) {
      const a = await logits(nLayers, ids);
      const b = await logits(nLayers, other);
      // The last position that the first token reaches, through nLayers windows.
      const last = nLayers * (window - 1);
      expect(a.subarray((last + 1) * n)).toEqual(b.subarray((last + 1) * n));
      expect(a.subarray(last * n, (last + 1) * n)).not.toEqual(
        b.subarray(last * n, (last + 1) * n),
      );
    }
  });

  test("a sequence's tokens do not depend on what else is in the batch", async () => {
    const model = makeModel(ops(), llama());
    const engine = new NetworkEngine(model);
    const prompts = promptsOf(model.config, [3, 9, 1, 6, 17]);
    const g = hyper({ top_p: 0.9 });
    const all = await generate(engine, prompts, g);
    // Two at a time, and room for little more.
    const small = { ...g, max_running: 2, kv_gib: (60 * 512) / 2 ** 30 };
    expect(await generate(engine, prompts, small)).toEqual(all);
    for (let s = 0; s < prompts.bs; s++) {
      const alone = await generate(engine, prompts.slice(s, s + 1), g);
      expect(alone.tokens[0]).toEqual(all.tokens[s]);
      expect(alone.logProbs[0]).toEqual(all.logProbs[s]);
      expect(alone.masks![0]).toEqual(all.masks![s]);
    }
    model.free();
  });

  test('a seed repeats its tokens, another one draws others', async () => {
    const model = makeModel(ops(), llama());
    const engine = new NetworkEngine(model);
    const prompts = promptsOf(model.config, [3, 9]);
    const first = await generate(engine, prompts, hyper(), 7);
    expect(await generate(engine, prompts, hyper(), 7)).toEqual(first);
    expect((await generate(engine, prompts, hyper(), 8)).tokens).not.toEqual(first.tokens);
    model.free();
  });

  test('without an EOS every sequence has max_new_tokens, up to the whole context', async () => {
    const model = makeModel(ops(), llama());
    const engine = new NetworkEngine(model);
    const out = await engine.generate(
      promptsOf(model.config, [44, 2]),
      hyper({ max_new_tokens: 20, temperature: 3 }),
      { eosTokenId: null, padTokenId: null, seed: 1 },
    );
    expect(out.tokens.map((t) => t.length)).toEqual([20, 20]);
    expect(out.noEos).toEqual([true, true]);
    expect(out.masks).toBeUndefined();
    model.free();
  });

  test('EOS ends a sequence, not before min_new_tokens; max_new_tokens ends the rest', async () => {
    const config = llama();
    const model = makeModel(ops(), config);
    const engine = new NetworkEngine(model);
    const prompts = promptsOf(
      config,
      Array.from({ length: 24 }, (_, i) => 1 + (i % 7)),
    );
    for (const min of [0, 5]) {
      // Hot enough that EOS comes.
      const g = hyper({ max_new_tokens: 20, min_new_tokens: min, temperature: 3 });
      const out = await generate(engine, prompts, g);
      const lengths = out.tokens.map((t) => t.length);
      out.tokens.forEach((t, s) => {
        expect(t.length).toBeLessThanOrEqual(20);
        expect(out.logProbs[s]!.length).toBe(t.length);
        const eos = t.indexOf(1);
        if (out.noEos[s]) {
          expect(t.length).toBe(20);
          expect(eos).toBe(-1);
        } else {
          expect(eos).toBe(t.length - 1);
          expect(eos).toBeGreaterThanOrEqual(min);
        }
      });
      // The batch has both endings, or this shows nothing.
      expect(Math.min(...lengths)).toBeLessThan(20);
      expect(Math.max(...lengths)).toBe(20);
    }
    model.free();
  });

  test.each([llama(), gpt2()])(
    '$family: greedy with the cache is greedy by full recomputation',
    async (config) => {
      const model = makeModel(ops(), config);
      const engine = new NetworkEngine(model);
      const prompts = promptsOf(config, [3, 9, 5]);
      const g = hyper({ greedy: true });
      const out = await generate(engine, prompts, g);
      const cu = prompts.cuSeqlens('packed_prompts');
      for (const [s, tokens] of out.tokens.entries()) {
        const ids = [...prompts.i32('packed_prompts').subarray(cu[s], cu[s + 1])];
        for (const token of tokens) {
          const batch = { tokens: Int32Array.from(ids), cuSeqlens: Int32Array.of(0, ids.length) };
          const { output } = await model.forward(batch, { train: false, logits: true });
          const last = output!.logits!.subarray(-config.vocabSize);
          expect(token).toBe(last.indexOf(Math.max(...last)));
          ids.push(token);
        }
      }
      const zero = await generate(engine, prompts, hyper({ temperature: 0 }));
      expect(zero.tokens).toEqual(out.tokens);
      model.free();
    },
  );

  test('what cannot be generated is refused, and nothing is kept', async () => {
    const config = llama();
    const model = makeModel(ops(), config);
    const engine = new NetworkEngine(model);
    const { live } = ops().memory();
    await expect(generate(engine, promptsOf(config, [3, 60]), hyper())).rejects.toThrow(
      'prompt 1 has 60 tokens and max_new_tokens is 12: together more than the model',
    );
    await expect(generate(engine, promptsOf(config, [3, 0]), hyper())).rejects.toThrow(
      'prompt 1 is empty',
    );
    const bad = SequenceSample.fromDefault({
      ids: ['a'],
      seqlens: [1],
      data: { packed_prompts: Int32Array.of(128) },
    });
    await expect(generate(engine, bad, hyper())).rejects.toThrow('outside the vocabulary of 128');
    expect(ops().memory().live).toBe(live);
    model.free();
    const critic = makeModel(ops(), llama({ isCritic: true }));
    await expect(
      generate(new NetworkEngine(critic), promptsOf(config, [3]), hyper()),
    ).rejects.toThrow('critic or reward model has no vocabulary head');
    critic.free();
  });
});
