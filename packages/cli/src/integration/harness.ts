/**
 * What the integration tests share: one opened adapter per suite, small random models (also cut over loopback ranks),
 * packed batches, and parameters or gradients put together from all ranks. A replica that differs from its peers fails.
 */
import {
  modelConfigSchema,
  optimizerSchema,
  SequenceSample,
  type ModelConfig,
  type OptimizerConfig,
  type Parallelism,
  singleDevice,
} from '@realhf/api';
import { WebGpuOps } from '@realhf/backends';
import { openGpu, testAdapters, type AdapterChoice } from '@realhf/backends/node';
import { loopbackCommunicators, parallelGroups, worldSize } from '@realhf/comm';
import { ReaLModel, type ReaLModelOptions } from '@realhf/model';
import { afterAll, beforeAll, describe, expect } from 'vitest';

/** Ops of one adapter, opened before the tests of the enclosing suite and destroyed after them; tensors may be limited. */
export function useOps(
  adapter: AdapterChoice = 'swiftshader',
  maxTensorBytes = Infinity,
): () => WebGpuOps {
  let ops: WebGpuOps | undefined;
  beforeAll(async () => {
    const { device, adapterName, isCpu } = await openGpu({ adapter });
    ops = new WebGpuOps({ device, adapter: adapterName, isCpu, maxTensorBytes });
  });
  afterAll(() => {
    ops?.destroy();
  });
  return () => ops!;
}

/** Runs `suite` on every software adapter of this machine. */
export async function onEveryAdapter(suite: (ops: () => WebGpuOps) => void): Promise<void> {
  for (const adapter of await testAdapters())
    describe(adapter, () => {
      suite(useOps(adapter));
    });
}

/** Grouped-query attention, rotary positions, gated MLP, a head of its own. */
export function llama(change: Partial<ModelConfig> = {}): ModelConfig {
  return modelConfigSchema.parse({
    family: 'llama',
    nLayers: 2,
    nHeads: 4,
    nKvHeads: 2,
    headDim: 16,
    hiddenDim: 32,
    intermediateDim: 48,
    vocabSize: 128,
    maxPositions: 64,
    norm: 'rms',
    normEps: 1e-6,
    mlp: 'gated',
    activation: 'silu',
    rope: {},
    attentionScale: 0.25,
    eosTokenId: 1,
    ...change,
  });
}

/** Multi-head attention, learned positions, biases, layer norms, tied embedding. */
export function gpt2(change: Partial<ModelConfig> = {}): ModelConfig {
  return llama({
    family: 'gpt2',
    nKvHeads: 4,
    norm: 'layer',
    normEps: 1e-5,
    mlp: 'plain',
    activation: 'gelu_tanh',
    rope: undefined,
    qkvBias: true,
    projBias: true,
    mlpBias: true,
    tiedEmbedding: true,
    ...change,
  });
}

/** Uniform in [0, 1), seeded (xorshift32). */
export function uniform(seed: number): () => number {
  let s = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s = (s ^ (s << 5)) >>> 0;
    return s / 2 ** 32;
  };
}

/** Standard normal numbers, seeded. */
export function normal(n: number, seed: number): Float32Array {
  const u = uniform(seed);
  return Float32Array.from(
    { length: n },
    () => Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u()),
  );
}

/** Full parameters by name in which nothing is zero or one: norms about 1, biases about 0, weights of unit gain. */
export function randomParams(config: ModelConfig, ops: WebGpuOps, seed = 1) {
  const model = new ReaLModel({ ops, config });
  const out = new Map<string, Float32Array>();
  model.specs.forEach((spec, i) => {
    const std = spec.shape.length === 1 ? 0.1 : 1 / Math.sqrt(config.hiddenDim);
    const mean = spec.init === 'ones' ? 1 : 0;
    out.set(
      spec.name,
      normal(spec.size, 1000 * seed + i).map((x) => mean + std * x),
    );
  });
  model.free();
  return out;
}

/** A model of this layout: one ReaLModel per rank, all on the same Ops, with the same full parameters. */
export function makeRanks(
  ops: WebGpuOps,
  config: ModelConfig,
  layout: Partial<Parallelism> = {},
  options: Partial<ReaLModelOptions> & { params?: ReadonlyMap<string, Float32Array> } = {},
): ReaLModel[] {
  const { params = randomParams(config, ops), ...rest } = options;
  const parallelism = { ...singleDevice, ...layout };
  return loopbackCommunicators(worldSize(parallelism), { timeoutMs: 120_000 }).map((world) => {
    const groups = parallelGroups(world, parallelism);
    const model = new ReaLModel({ ops, config, groups, ...rest });
    for (const [name, full] of params) model.load(name, full);
    return model;
  });
}

/** The only rank of a single-device model. */
export function makeModel(
  ops: WebGpuOps,
  config: ModelConfig,
  options: Partial<ReaLModelOptions> & { params?: ReadonlyMap<string, Float32Array> } = {},
): ReaLModel {
  return makeRanks(ops, config, {}, options)[0]!;
}

/** Full tensors from the parts of all ranks; where several hold an element, their values must be the same bits. */
export async function wholeTensors(
  ranks: readonly ReaLModel[],
  what: 'params' | 'grads',
): Promise<Map<string, Float32Array>> {
  const out = new Map<string, Float32Array>();
  for (const spec of ranks[0]!.specs) {
    const whole = new Float32Array(spec.size).fill(NaN);
    for (const rank of ranks) {
      const mine = await rank.dump(spec.name, what);
      for (const i of rank.shardMap.intervals) {
        if (i.param !== spec.name) continue;
        for (let k = i.global - spec.offset; k < i.global - spec.offset + i.length; k++) {
          if (!Number.isNaN(whole[k]!) && whole[k] !== mine[k])
            throw new Error(`${spec.name}[${k}]: ranks hold ${whole[k]!} and ${mine[k]!}`);
          whole[k] = mine[k]!;
        }
      }
    }
    out.set(spec.name, whole);
  }
  return out;
}

/** ‖a − b‖ / ‖b‖; Infinity where something is not a number. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  const error = Math.sqrt(difference / Math.max(norm, 1e-30));
  return Number.isNaN(error) ? Infinity : error;
}

/** Every tensor within `limit` relative to its norm. */
export function expectTensorsClose(
  got: ReadonlyMap<string, Float32Array>,
  want: ReadonlyMap<string, Float32Array>,
  limit: number,
): void {
  const bad = [...want]
    .map(([name, w]) => [name, relativeError(got.get(name) ?? [], w)] as const)
    .filter(([, e]) => !(e <= limit));
  expect(bad).toEqual([]);
}

/** Packed sequences of random tokens (never EOS) with a prompt of a third of each. */
export function tokensSample(
  config: ModelConfig,
  lengths: readonly number[],
  seed = 5,
): SequenceSample {
  const u = uniform(seed);
  const total = lengths.reduce((a, b) => a + b, 0);
  return SequenceSample.fromDefault({
    ids: lengths.map((_, i) => `s${i}`),
    seqlens: lengths,
    data: {
      packed_input_ids: Int32Array.from(
        { length: total },
        () => 2 + Math.floor(u() * (config.vocabSize - 2)),
      ),
      prompt_mask: Uint8Array.from(
        lengths.flatMap((l) => Array.from({ length: l }, (_, t) => (t < Math.ceil(l / 3) ? 1 : 0))),
      ),
    },
  });
}

export const batchOf = (sample: SequenceSample, key = 'packed_input_ids') => ({
  tokens: sample.i32(key),
  cuSeqlens: sample.cuSeqlens(key),
});

export function adamConfig(change: Partial<OptimizerConfig> = {}): OptimizerConfig {
  return optimizerSchema.parse({
    lr: 1e-2,
    warmup_steps_proportion: 0,
    lr_scheduler_type: 'constant',
    ...change,
  });
}
