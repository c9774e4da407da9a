/** Models with adapters for the tests: random A and B, and the sums that their gradients are checked by. */
import type { ModelConfig, Parallelism } from '@realhf/api';
import type { WebGpuOps } from '@realhf/backends';
import { loraSpecs, mergedParams, ReaLModel, type LoraConfig } from '@realhf/model';

import { makeRanks, normal, randomParams } from './harness.js';

/** All of a gated model's weights, with A and B that are far from zero. */
export const everywhere: LoraConfig = {
  rank: 4,
  alpha: 8,
  targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
};

type Params = ReadonlyMap<string, Float32Array>;

export function randomAdapter(config: ModelConfig, lora: LoraConfig, seed = 90): Params {
  return new Map(
    loraSpecs(config, lora).map((s, i) => [
      s.name,
      normal(s.size, seed + i).map((x) => (s.init === 'zeros' ? 0.3 : 0.25) * x),
    ]),
  );
}

interface AdaptedOptions {
  readonly params?: Params;
  readonly adapter?: Params;
  readonly layout?: Partial<Parallelism>;
  readonly gradientCheckpointing?: boolean;
}

/** One model with an adapter per rank of a layout; their bases are in `adapter.base`. */
export function adaptedRanks(
  ops: WebGpuOps,
  config: ModelConfig,
  lora: LoraConfig,
  { params = randomParams(config, ops), adapter, layout = {}, ...rest }: AdaptedOptions = {},
): ReaLModel[] {
  return makeRanks(ops, config, layout, { params }).map((base) => {
    const model = new ReaLModel({
      ops,
      config,
      groups: base.groups,
      ...rest,
      adapter: { base, lora },
    });
    for (const [name, values] of adapter ?? randomAdapter(config, lora)) model.load(name, values);
    return model;
  });
}

export function freeAdapted(...models: readonly ReaLModel[]): void {
  for (const m of models) {
    m.free();
    m.adapter?.base.free();
  }
}

/** The same function as a model without an adapter. */
export async function mergedModel(ops: WebGpuOps, model: ReaLModel): Promise<ReaLModel> {
  const { config, adapter } = model;
  const { base, lora } = adapter!;
  const get = mergedParams(
    config,
    lora,
    (name) => base.dump(name),
    (name) => model.dump(name),
  );
  const merged = new ReaLModel({ ops, config });
  for (const { name } of merged.specs) merged.load(name, await get(name));
  return merged;
}
