import { ConfigError, RealError, type ModelConfig } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { paramSpecs } from '../params/specs.js';
import { gpt2Config, llamaConfig } from '../params/test-configs.js';
import { configFromHf, configToHf, familyOfHf, hfFamilies } from './families.js';
import { weightsFromHf, weightsToHf, type TensorSource } from './weights.js';

const llamaJson = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 112,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 160,
};
const gpt2Json = { model_type: 'gpt2', n_embd: 64, n_layer: 2, n_head: 4, vocab_size: 160 };

/** A checkpoint in memory. */
function source(tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>) {
  return {
    name: 'memory',
    names: () => [...tensors.keys()],
    shape: (n) => tensors.get(n)?.shape,
    read: (n) => Promise.resolve(tensors.get(n)!.data),
  } satisfies TensorSource;
}

/** Params counted up element by element, and their checkpoint. */
async function checkpointOf(config: ModelConfig) {
  const params = new Map(
    paramSpecs(config).map((s) => [
      s.name,
      Float32Array.from({ length: s.size }, (_, i) => s.offset + i),
    ]),
  );
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for await (const t of weightsToHf(config, (n) => params.get(n)!))
    tensors.set(t.name, { shape: t.shape, data: t.data.slice() });
  return { params, tensors };
}

async function load(
  config: ModelConfig,
  from: TensorSource,
  options?: Parameters<typeof weightsFromHf>[3],
) {
  const got = new Map<string, Float32Array>();
  await weightsFromHf(config, from, (name, full) => void got.set(name, full.slice()), options);
  return got;
}

const message = async (f: () => unknown): Promise<string> => {
  try {
    await f();
  } catch (e) {
    if (RealError.is(e)) return e.message;
    throw e;
  }
  return 'no error';
};

describe('config', () => {
  const configs = fc
    .record({
      gpt2: fc.boolean(),
      isCritic: fc.boolean(),
      tiedEmbedding: fc.boolean(),
      bias: fc.boolean(),
      activation: fc.constantFrom<ModelConfig['activation'][]>('gelu', 'gelu_tanh', 'silu', 'relu'),
      rope: fc.constantFrom<NonNullable<ModelConfig['rope']>[]>(
        { type: 'default', base: 1e6 },
        { type: 'linear', base: 1e4, factor: 4 },
        { type: 'dynamic', base: 1e4, factor: 2 },
        {
          type: 'yarn',
          base: 1e6,
          factor: 4,
          originalMaxPositions: 32,
          attentionFactor: 1.14,
          betaFast: 32,
          betaSlow: 1,
          truncate: true,
        },
        {
          type: 'llama3',
          base: 5e5,
          factor: 8,
          lowFreqFactor: 1,
          highFreqFactor: 4,
          originalMaxPositions: 64,
        },
      ),
      eosTokenId: fc.option(fc.nat(30)),
    })
    .map(({ gpt2, bias, rope, ...c }) =>
      gpt2
        ? gpt2Config({ ...c, scaleAttentionByInverseLayer: bias })
        : llamaConfig({ ...c, rope, qkvBias: bias, projBias: bias, mlpBias: !bias }),
    );

  it('survives config.json and back', () => {
    fc.assert(
      fc.property(configs, (config) => {
        const json: unknown = JSON.parse(JSON.stringify(configToHf(config)));
        expect(configFromHf(json as Record<string, unknown>)).toEqual(config);
      }),
    );
  });

  it('reads both spellings of rope scaling alike', () => {
    const scaling = {
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    const v5 = configFromHf({
      ...llamaJson,
      rope_parameters: { ...scaling, rope_type: 'llama3', rope_theta: 5e5 },
    });
    for (const key of ['rope_type', 'type'])
      expect(
        configFromHf({
          ...llamaJson,
          rope_theta: 5e5,
          rope_scaling: { ...scaling, [key]: 'llama3' },
        }),
      ).toEqual(v5);
    expect(v5.rope).toEqual({
      type: 'llama3',
      base: 5e5,
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositions: 8192,
    });
    expect(configFromHf(llamaJson).rope).toEqual({ type: 'default', base: 10000 });
  });

  it('fills in what config.json leaves out', () => {
    const llama = configFromHf({ ...llamaJson, head_dim: null, eos_token_id: [7, 8] });
    expect(llama).toMatchObject({ headDim: 16, nKvHeads: 4, tiedEmbedding: false, eosTokenId: 7 });
    expect(configFromHf({ ...llamaJson, tie_word_embeddings: true }).tiedEmbedding).toBe(true);
    const gpt2 = configFromHf({ ...gpt2Json, n_inner: null });
    expect(gpt2).toMatchObject({ intermediateDim: 256, tiedEmbedding: true, headDim: 16 });
    expect(gpt2.activation).toBe('gelu_tanh');
    expect(configFromHf({ ...gpt2Json, scale_attn_weights: false }).attentionScale).toBe(1);
    expect(configFromHf({ ...gpt2Json, tie_word_embeddings: false }).tiedEmbedding).toBe(false);
  });

  it('stores a critic as a one-label sequence classifier', () => {
    const json = configToHf(gpt2Config({ isCritic: true }));
    expect(json).toMatchObject({ architectures: ['GPT2ForSequenceClassification'], num_labels: 1 });
    expect(configToHf(llamaConfig({ isCritic: true })).architectures).toEqual([
      'LlamaForSequenceClassification',
    ]);
  });

  it('says what it does not know', async () => {
    expect(await message(() => familyOfHf({ architectures: ['FooForCausalLM'] }))).toMatch(
      /"FooForCausalLM".*known: LlamaForCausalLM, LlamaFor.*, GemmaForCausalLM, .*Qwen3For/,
    );
    expect(await message(() => familyOfHf({ model_type: 'bar' }))).toMatch(/model_type "bar"/);
    expect(await message(() => hfFamilies.get('baz'))).toMatch(
      /family 'baz'; known: codellama, .*gpt2, llama/,
    );
    const llama = (change: object) => message(() => configFromHf({ ...llamaJson, ...change }));
    expect(await llama({ rope_scaling: { rope_type: 'longrope', factor: 2 } })).toMatch(
      /rope_scaling has type "longrope"; known: default, linear, dynamic, llama3, yarn/,
    );
    expect(await llama({ rope_parameters: { rope_type: 'llama3', factor: 8 } })).toMatch(
      /low_freq_factor/,
    );
    expect(await llama({ rope_parameters: { partial_rotary_factor: 0.5 } })).toMatch(/partial_rot/);
    expect(await llama({ hidden_act: 'quick_gelu' })).toMatch(
      /'quick_gelu' is unknown; known: silu/,
    );
    expect(await llama({ vocab_size: undefined })).toMatch(/vocab_size/);
    expect(await message(() => configFromHf({ ...gpt2Json, n_head: 5 }))).toMatch(
      /multiple of n_head/,
    );
    expect(await message(() => configFromHf({ ...gpt2Json, add_cross_attention: true }))).toMatch(
      /add_cross_attention/,
    );
  });

  it('refuses to store what the family has no field for', async () => {
    const fails = (config: ModelConfig) => message(() => configToHf(config));
    expect(await fails(llamaConfig({ qkvBias: true }))).toMatch(/can't store projBias = false/);
    expect(await fails(llamaConfig({ norm: 'gemma' }))).toMatch(/norm = "gemma", only "rms"/);
    expect(await fails(llamaConfig({ rope: undefined }))).toMatch(/can't store rope/);
    expect(await fails(llamaConfig({ attentionScale: 1 }))).toMatch(/attentionScale = 1/);
    expect(await fails(gpt2Config({ attentionScale: 0.3 }))).toMatch(/attentionScale = 0.3/);
    expect(await fails(gpt2Config({ hiddenDim: 24 }))).toMatch(/hiddenDim = 24/);
  });
});

describe('weights', () => {
  it('come back bit-equal, every element once', async () => {
    for (const config of [
      llamaConfig(),
      llamaConfig({ tiedEmbedding: true, qkvBias: true, projBias: true, mlpBias: true }),
      llamaConfig({ isCritic: true, tiedEmbedding: true }),
      gpt2Config(),
      gpt2Config({ tiedEmbedding: false }),
      gpt2Config({ isCritic: true }),
    ]) {
      const { params, tensors } = await checkpointOf(config);
      const elements = [...tensors.values()].reduce((n, t) => n + t.data.length, 0);
      expect(elements).toBe([...params.values()].reduce((n, p) => n + p.length, 0));
      expect(await load(config, source(tensors))).toEqual(params);
    }
  });

  it('transpose Conv1D: element (in, out) of the checkpoint is (out, in) of ours', async () => {
    const config = gpt2Config();
    const { params, tensors } = await checkpointOf(config);
    const { shape, data } = tensors.get('transformer.h.0.attn.c_attn.weight')!;
    expect(shape).toEqual([20, 60]);
    expect(data[3 * 60 + 7]).toBe(params.get('1.attn.qkv.weight')![7 * 20 + 3]);
  });

  it('accept checkpoints of the bare model, old buffers and a stored tied head', async () => {
    const config = gpt2Config();
    const { params, tensors } = await checkpointOf(config);
    const bare = new Map([...tensors].map(([n, t]) => [n.replace('transformer.', ''), t]));
    bare.set('h.0.attn.bias', { shape: [1, 1, 8, 8], data: new Float32Array(64) });
    bare.set('lm_head.weight', tensors.get('transformer.wte.weight')!);
    expect(await load(config, source(bare))).toEqual(params);
  });

  it('read only what is asked for', async () => {
    const config = llamaConfig();
    const { tensors } = await checkpointOf(config);
    const got = await load(config, source(tensors), { only: (p) => p.startsWith('1.') });
    expect([...got.keys()].every((p) => p.startsWith('1.'))).toBe(true);
    expect(got.size).toBe(6);
  });

  it('start a critic from an actor without its head', async () => {
    for (const make of [llamaConfig, gpt2Config]) {
      const { params, tensors } = await checkpointOf(make());
      const critic = make({ isCritic: true });
      const got = await load(critic, source(tensors), { initCriticFromActor: true });
      params.delete('3.head.weight');
      expect(got).toEqual(params);
    }
  });

  it('read a critic saved under lm_head', async () => {
    const config = llamaConfig({ isCritic: true });
    const { params, tensors } = await checkpointOf(config);
    tensors.set('lm_head.weight', tensors.get('score.weight')!);
    tensors.delete('score.weight');
    expect(await load(config, source(tensors))).toEqual(params);
  });

  it('name missing, unexpected and misshapen tensors', async () => {
    const config = llamaConfig();
    const { tensors } = await checkpointOf(config);
    const after = async (change: (t: typeof tensors) => unknown, c = config) => {
      const copy = new Map(tensors);
      change(copy);
      return message(() => load(c, source(copy)));
    };
    expect(await after((t) => t.delete('model.norm.weight'))).toMatch(/lacks 'model.norm.weight'/);
    expect(await after((t) => t.set('extra', tensors.get('model.norm.weight')!))).toMatch(
      /has 'extra', which a llama of its config does not have/,
    );
    expect(
      await after((t) => t.set('model.norm.weight', { shape: [3], data: new Float32Array(3) })),
    ).toMatch(/'model.norm.weight' has shape \[3\], the config asks for \[20\]/);
    const critic = llamaConfig({ isCritic: true });
    expect(await after(() => undefined, critic)).toMatch(
      /'lm_head.weight' has shape \[40,20\].*set initCriticFromActor/,
    );
    expect(
      await after((t) => {
        t.clear();
      }),
    ).toMatch(/and 16 more/);
  });

  it('check the size of what they are given to write', async () => {
    const writing = async () => {
      await weightsToHf(llamaConfig(), () => new Float32Array(3)).next();
    };
    expect(await message(writing)).toMatch(/'0.wte.weight' has 3 elements.*asks for 800/);
    await expect(load(llamaConfig({ family: 'x' }), source(new Map()))).rejects.toThrow(
      ConfigError,
    );
  });
});
