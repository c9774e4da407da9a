/** mixtral: its config.json, both names of its experts, and how tensor-parallel ranks cut them. */
import { ConfigError, moeSchema } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { paramSpecs } from '../params/specs.js';
import { shardRule } from '../params/tensor-slices.js';
import { llamaConfig } from '../params/test-configs.js';
import { configFromHf, configToHf } from './families.js';
import { weightsFromHf, weightsToHf, type HfTensor } from './weights.js';

const json = (more: object = {}) => ({
  architectures: ['MixtralForCausalLM'],
  hidden_size: 64,
  intermediate_size: 112,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 160,
  max_position_embeddings: 512,
  ...more,
});
const config = llamaConfig({ family: 'mixtral', moe: moeSchema.parse({ numExperts: 3 }) });

describe('config.json', () => {
  it('has the defaults of transformers', () => {
    const read = configFromHf(json());
    expect(read.moe).toEqual({
      numExperts: 8,
      topK: 2,
      routing: 'aux_loss',
      auxLossCoeff: 1e-3,
      zLossCoeff: 0,
      tokenDropPolicy: 'probs',
      inputJitterEps: 0,
    });
    expect(read.rope?.base).toBe(1e6);
    expect(read.normEps).toBe(1e-5);
    expect(read.slidingWindow).toBeUndefined();
    expect(configFromHf(json({ rope_theta: 500 })).rope?.base).toBe(500);
    expect(
      configFromHf(json({ rope_parameters: { rope_type: 'default', rope_theta: 700 } })).rope?.base,
    ).toBe(700);
  });

  it('takes coefficient and jitter from transformers’ fields, the rest from realhf_moe', () => {
    const read = configFromHf(
      json({
        num_local_experts: 4,
        router_aux_loss_coef: 0.02,
        router_jitter_noise: 0.1,
        realhf_moe: { routing_type: 'none', capacity_factor: 2 },
      }),
    );
    expect(read.moe).toMatchObject({
      numExperts: 4,
      auxLossCoeff: 0.02,
      inputJitterEps: 0.1,
      routing: 'none',
      capacityFactor: 2,
    });
  });

  it('is refused where it makes no sense', () => {
    expect(() => configFromHf(json({ num_experts_per_tok: 9 }))).toThrow(/9 is more than .* 8/);
    const wrong = { realhf_moe: { routing_type: 'hash' } };
    expect(() => configFromHf(json(wrong))).toThrow(/realhf_moe.routing_type/);
    expect(() => configToHf(llamaConfig({ family: 'mixtral' }))).toThrow(ConfigError);
    expect(() => configToHf({ ...config, family: 'llama' })).toThrow(/can't store moe/);
  });
});

describe('weights', () => {
  const params = new Map(
    paramSpecs(config).map((s) => [
      s.name,
      Float32Array.from({ length: s.size }, (_, i) => s.offset + i),
    ]),
  );
  const stored = async (otherNames: boolean) => {
    const out = new Map<string, HfTensor>();
    for await (const t of weightsToHf(config, (n) => params.get(n)!, { otherNames }))
      out.set(t.name, { ...t, data: t.data.slice() });
    return out;
  };
  const load = async (tensors: ReadonlyMap<string, HfTensor>) => {
    const got = new Map<string, Float32Array>();
    const source = {
      name: 'memory',
      names: () => [...tensors.keys()],
      shape: (n: string) => tensors.get(n)?.shape,
      read: (n: string) => Promise.resolve(tensors.get(n)!.data),
    };
    await weightsFromHf(config, source, (name, full) => void got.set(name, full.slice()));
    return got;
  };

  it('are written by expert and read by expert or fused', async () => {
    const [byExpert, fused] = [await stored(false), await stored(true)];
    expect(byExpert.has('model.layers.1.block_sparse_moe.experts.2.w3.weight')).toBe(true);
    expect(fused.get('model.layers.1.mlp.experts.gate_up_proj')?.shape).toEqual([3, 48, 20]);
    expect(await load(byExpert)).toEqual(params);
    expect(await load(fused)).toEqual(params);
    const bare = new Map([...fused].map(([n, t]) => [n.replace(/^model\./, ''), t]));
    expect(await load(bare)).toEqual(params);
  });

  it('are checked under the names that they have', async () => {
    const fused = await stored(true);
    fused.delete('model.layers.0.mlp.experts.down_proj');
    await expect(load(fused)).rejects.toThrow(/lacks 'model.layers.0.mlp.experts.down_proj'/);
    const byExpert = await stored(false);
    byExpert.delete('model.layers.0.block_sparse_moe.experts.1.w2.weight');
    await expect(load(byExpert)).rejects.toThrow(/lacks 'model.*experts.1.w2.weight'/);
  });
});

it('every expert is cut along its inner dimension, the router is whole', () => {
  const rule = (name: string) =>
    shardRule(
      config,
      paramSpecs(config).find((s) => s.name === name)!,
      { rank: 1, size: 2 },
    );
  expect(rule('1.mlp.experts_gate_up.weight').rows).toEqual(
    [12, 36, 60, 84, 108, 132].map((r) => [r, r + 12]),
  );
  expect(rule('1.mlp.experts_down.weight')).toMatchObject({
    rows: [[0, 60]],
    columns: [12, 24],
    shape: [60, 12],
  });
  expect(rule('1.mlp.router.weight').shape).toEqual([3, 20]);
});
