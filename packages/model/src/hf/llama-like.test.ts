/** qwen2, qwen3, mistral and gemma: what config.json says of each, what it refuses, and the way back. */
import { ConfigError, moeSchema, type ModelConfig } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { paramSpecs } from '../params/specs.js';
import { llamaConfig } from '../params/test-configs.js';
import { configFromHf, configToHf, familyOfHf, hfFamilies } from './families.js';
import { llama } from './llama.js';
import { ropeFromHf } from './rope.js';
import { weightsFromHf, weightsToHf, type HfTensor } from './weights.js';

const json = (architecture: string, more: object = {}) => ({
  architectures: [architecture],
  hidden_size: 64,
  intermediate_size: 112,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 160,
  max_position_embeddings: 512,
  ...more,
});
const read = (family: string, more: object = {}) =>
  configFromHf(json(`${family}ForCausalLM`, more));

const examples: readonly ModelConfig[] = [
  llamaConfig({ family: 'qwen2', qkvBias: true, tiedEmbedding: true }),
  llamaConfig({ family: 'qwen3', qkNorm: true }),
  llamaConfig({ family: 'qwen3', qkNorm: true, qkvBias: true, projBias: true }),
  llamaConfig({ family: 'mistral' }),
  llamaConfig({
    family: 'mistral',
    slidingWindow: 9,
    rope: { type: 'linear', base: 1e4, factor: 2 },
  }),
  llamaConfig({ family: 'mixtral', moe: moeSchema.parse({ numExperts: 3 }), attnDropout: 0.1 }),
  llamaConfig({
    family: 'mixtral',
    slidingWindow: 9,
    moe: moeSchema.parse({
      topK: 1,
      routing: 'sinkhorn',
      capacityFactor: 1.5,
      tokenDropPolicy: 'position',
      zLossCoeff: 0.1,
      inputJitterEps: 0.01,
    }),
  }),
  llamaConfig({
    family: 'gemma',
    nKvHeads: 1,
    norm: 'gemma',
    activation: 'gelu_tanh',
    embeddingScale: Math.sqrt(20),
    tiedEmbedding: true,
  }),
];

describe.each(examples)('$family', (example) => {
  it.each([false, true])('survives config.json and back, critic: %s', (isCritic) => {
    const config = { ...example, isCritic };
    const stored = JSON.parse(JSON.stringify(configToHf(config))) as Record<string, unknown>;
    expect(familyOfHf(stored).name).toBe(config.family);
    expect(configFromHf(stored)).toEqual(config);
    expect(familyOfHf({ model_type: config.family }).name).toBe(config.family);
  });

  it.each([false, true])('has weights that come back bit-equal, critic: %s', async (isCritic) => {
    const config = { ...example, isCritic };
    const params = new Map(
      paramSpecs(config).map((s) => [
        s.name,
        Float32Array.from({ length: s.size }, (_, i) => s.offset + i),
      ]),
    );
    const stored = new Map<string, HfTensor>();
    for await (const t of weightsToHf(config, (n) => params.get(n)!))
      stored.set(t.name, { ...t, data: t.data.slice() });
    const got = new Map<string, Float32Array>();
    const source = {
      name: 'memory',
      names: () => [...stored.keys()],
      shape: (n: string) => stored.get(n)?.shape,
      read: (n: string) => Promise.resolve(stored.get(n)!.data),
    };
    await weightsFromHf(config, source, (name, full) => void got.set(name, full.slice()));
    expect(got).toEqual(params);
    expect(stored.has('model.layers.0.self_attn.q_norm.weight')).toBe(config.qkNorm);
  });

  it('is not stored as another family where that would lose something', () => {
    for (const family of hfFamilies.names()) {
      const other = hfFamilies.get(family);
      const same = () => other.configFromHf(other.configToHf(example));
      let back: ModelConfig;
      try {
        back = same();
      } catch (e) {
        expect(e).toBeInstanceOf(ConfigError);
        continue;
      }
      expect({ ...back, family: example.family }).toEqual(example);
    }
  });
});

describe('config.json', () => {
  it('of a qwen2 has biases on q, k and v only', () => {
    expect(read('Qwen2')).toMatchObject({ qkvBias: true, projBias: false, qkNorm: false });
    expect(read('Qwen2', { tie_word_embeddings: true }).tiedEmbedding).toBe(true);
    // Published files have a window that is switched off.
    const off = { sliding_window: 128, use_sliding_window: false, max_window_layers: 1 };
    expect(read('Qwen2', off).slidingWindow).toBeUndefined();
  });

  it('of a qwen has full attention in all layers', () => {
    for (const family of ['Qwen2', 'Qwen3']) {
      const on = { use_sliding_window: true, sliding_window: 128 };
      expect(() => read(family, { ...on, max_window_layers: 1 })).toThrow(/from 1 of 2/);
      expect(read(family, { ...on, max_window_layers: 2 }).slidingWindow).toBeUndefined();
      const types = { layer_types: ['full_attention', 'sliding_attention'] };
      expect(() => read(family, types)).toThrow(/'sliding_attention'; known: full_attention/);
    }
  });

  it('of a qwen3 has its own head size, 128 if it says none', () => {
    expect(read('Qwen3')).toMatchObject({ headDim: 128, qkNorm: true, qkvBias: false });
    expect(read('Qwen3', { head_dim: 32, attention_bias: true })).toMatchObject({
      headDim: 32,
      attentionScale: 1 / Math.sqrt(32),
      qkvBias: true,
      projBias: true,
    });
  });

  it('of a mistral has a window, of 4096 if it says none', () => {
    expect(read('Mistral').slidingWindow).toBe(4096);
    expect(read('Mistral', { sliding_window: 48 }).slidingWindow).toBe(48);
    expect(read('Mistral', { sliding_window: null }).slidingWindow).toBeUndefined();
    expect(() => read('Mistral', { sliding_window: 0 })).toThrow(/sliding_window/);
  });

  it('of a gemma means the approximate gelu by gelu', () => {
    const gemma = read('Gemma', { hidden_act: 'gelu' });
    expect(gemma).toMatchObject({
      norm: 'gemma',
      headDim: 256,
      activation: 'gelu_tanh',
      embeddingScale: 8,
      tiedEmbedding: true,
    });
    expect(read('Gemma')).toEqual(gemma);
    expect(read('Gemma', { hidden_act: 'gelu', hidden_activation: 'silu' }).activation).toBe(
      'silu',
    );
    expect(() => read('Gemma', { hidden_activation: 'gelu' })).toThrow(/transformers 5/);
    expect(() => read('Gemma', { hidden_activation: 'mish' })).toThrow(/'mish' is unknown; known/);
    expect(() => read('Gemma', { use_bidirectional_attention: true })).toThrow(/bidirectional/);
    expect(() => configToHf({ ...gemma, activation: 'gelu' })).toThrow(/can't store activation/);
  });

  it('must say how many kv heads there are', () => {
    expect(() => read('Qwen2', { num_key_value_heads: undefined })).toThrow(/num_key_value_heads/);
    expect(read('Qwen2', { num_key_value_heads: null }).nKvHeads).toBe(4);
  });

  it('of codellama and deepseek is a llama under other names', () => {
    expect(hfFamilies.get('codellama')).toBe(llama);
    expect(hfFamilies.get('deepseek')).toBe(llama);
    expect(read('Llama').family).toBe('llama');
  });
});

describe('rope of every family', () => {
  it.each(['Llama', 'Qwen2', 'Qwen3', 'Mistral', 'Gemma'])('%s: both spellings', (family) => {
    const yarn = { factor: 4, original_max_position_embeddings: 128 };
    const v4 = { rope_theta: 5e4, rope_scaling: { type: 'yarn', ...yarn } };
    const v5 = { rope_parameters: { rope_type: 'yarn', rope_theta: 5e4, ...yarn } };
    expect(read(family, v4).rope).toEqual({
      type: 'yarn',
      base: 5e4,
      factor: 4,
      originalMaxPositions: 128,
      attentionFactor: 0.1 * Math.log(4) + 1,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
    });
    expect(read(family, v5)).toEqual(read(family, v4));
    expect(() => read(family, { rope_scaling: { type: 'longrope' } })).toThrow(
      /"longrope"; known: default, linear, dynamic, llama3, yarn/,
    );
  });

  const rope = (rope_scaling: object, max_position_embeddings?: number) =>
    ropeFromHf('llama', { rope_scaling, max_position_embeddings });

  it('yarn takes its original context from the model, its factor from mscale', () => {
    expect(rope({ type: 'yarn', factor: 2 }, 256).originalMaxPositions).toBe(256);
    expect(() => rope({ type: 'yarn', factor: 2 })).toThrow(/original_max_position_embeddings/);
    const scaled = { type: 'yarn', factor: 8, mscale: 0.707, mscale_all_dim: 0.5 };
    expect(rope(scaled, 256).attentionFactor).toBeCloseTo(1.0389905150739585, 12);
    expect(rope({ ...scaled, attention_factor: 1.5 }, 256).attentionFactor).toBe(1.5);
  });

  it('dynamic is known as far as it does not depend on the length of a sequence', () => {
    const dynamic = { type: 'dynamic', factor: 2 };
    expect(rope(dynamic, 256)).toEqual({ type: 'dynamic', base: 10000, factor: 2 });
    expect(rope({ ...dynamic, original_max_position_embeddings: 256 }, 256).type).toBe('dynamic');
    expect(() => rope({ ...dynamic, original_max_position_embeddings: 64 }, 256)).toThrow(
      /64 is not max_position_embeddings 256.*known.*yarn/,
    );
  });
});
