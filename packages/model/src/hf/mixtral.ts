/**
 * The mixtral family: MixtralForCausalLM (reference: M9). An MLP is a router and experts w1 (gate), w3 (up), w2 (down);
 * written by expert, read by expert or fused (gate_up_proj, down_proj: the parameters of transformers 5). What config.json
 * has no field for is kept in `realhf_moe`, which transformers does not look at. Our balancing loss is
 * transformers' divided by topK².
 */
import { ConfigError, moeSchema, modelConfigSchema, type ModelConfig } from '@realhf/api';
import { z } from 'zod';
import type { HfFamily, TensorMapping } from './family.js';
import { dim, parseFields } from './fields.js';
import {
  llamaLikeFields,
  llamaLikeFromHf,
  llamaLikeNames,
  llamaLikeTensors,
  llamaLikeToHf,
} from './llama-like.js';

const schema = z.object({
  ...llamaLikeFields,
  num_key_value_heads: dim.nullable().default(8),
  rms_norm_eps: z.number().positive().default(1e-5),
  sliding_window: dim.nullable().default(null),
  num_local_experts: dim.default(8),
  num_experts_per_tok: dim.default(2),
  router_aux_loss_coef: z.number().nonnegative().default(1e-3),
  router_jitter_noise: z.number().min(0).lt(1).default(0),
  realhf_moe: z
    .strictObject({
      routing_type: z.enum(['aux_loss', 'sinkhorn', 'none']).optional(),
      z_loss_coeff: z.number().nonnegative().optional(),
      capacity_factor: z.number().positive().optional(),
      token_drop_policy: z.enum(['probs', 'position']).optional(),
    })
    .default({}),
});

/** transformers' default where config.json has no base. */
const rope = { rope_theta: 1e6 };

export const mixtral: HfFamily = {
  name: 'mixtral',
  modelType: 'mixtral',
  architectures: { causal: 'MixtralForCausalLM', critic: 'MixtralForSequenceClassification' },
  ...llamaLikeNames,

  configFromHf(json) {
    const c = parseFields('mixtral', schema, json);
    if (c.num_experts_per_tok > c.num_local_experts)
      throw new ConfigError(
        `config.json of a mixtral: num_experts_per_tok ${c.num_experts_per_tok} is more than num_local_experts ${c.num_local_experts}; correct the file`,
      );
    const own = c.realhf_moe;
    return modelConfigSchema.parse({
      ...llamaLikeFromHf('mixtral', c, { ...rope, ...json }),
      ...(c.sliding_window === null ? {} : { slidingWindow: c.sliding_window }),
      moe: moeSchema.parse({
        numExperts: c.num_local_experts,
        topK: c.num_experts_per_tok,
        routing: own.routing_type,
        auxLossCoeff: c.router_aux_loss_coef,
        zLossCoeff: own.z_loss_coeff,
        ...(own.capacity_factor === undefined ? {} : { capacityFactor: own.capacity_factor }),
        tokenDropPolicy: own.token_drop_policy,
        inputJitterEps: c.router_jitter_noise,
      }),
    });
  },

  configToHf(config) {
    const { slidingWindow } = config;
    const moe = experts(config);
    return {
      ...llamaLikeToHf(mixtral, config, { slidingWindow, moe }),
      sliding_window: slidingWindow ?? null,
      num_local_experts: moe.numExperts,
      num_experts_per_tok: moe.topK,
      output_router_logits: false,
      router_aux_loss_coef: moe.auxLossCoeff,
      router_jitter_noise: moe.inputJitterEps,
      realhf_moe: {
        routing_type: moe.routing,
        z_loss_coeff: moe.zLossCoeff,
        ...(moe.capacityFactor === undefined ? {} : { capacity_factor: moe.capacityFactor }),
        token_drop_policy: moe.tokenDropPolicy,
      },
    };
  },

  tensors: (config) =>
    withExperts(config, (l, at) => {
      const { hiddenDim: h, intermediateDim: inter } = config;
      const { numExperts } = experts(config);
      const out = [
        tensor(`${at}.block_sparse_moe.gate.weight`, `${l}.mlp.router.weight`, [numExperts, h]),
      ];
      const [gateUp, down] = [`${l}.mlp.experts_gate_up.weight`, `${l}.mlp.experts_down.weight`];
      for (let e = 0; e < numExperts; e++) {
        const expert = `${at}.block_sparse_moe.experts.${e}`;
        out.push(
          tensor(`${expert}.w1.weight`, gateUp, [inter, h], 2 * e * inter),
          tensor(`${expert}.w3.weight`, gateUp, [inter, h], (2 * e + 1) * inter),
        );
      }
      for (let e = 0; e < numExperts; e++)
        out.push(tensor(`${at}.block_sparse_moe.experts.${e}.w2.weight`, down, [h, inter], e * h));
      return out;
    }),

  otherTensors: (config) =>
    withExperts(config, (l, at) => {
      const { hiddenDim: h, intermediateDim: inter } = config;
      const { numExperts: n } = experts(config);
      return [
        tensor(`${at}.mlp.gate.weight`, `${l}.mlp.router.weight`, [n, h]),
        tensor(`${at}.mlp.experts.gate_up_proj`, `${l}.mlp.experts_gate_up.weight`, [
          n,
          2 * inter,
          h,
        ]),
        tensor(`${at}.mlp.experts.down_proj`, `${l}.mlp.experts_down.weight`, [n, h, inter]),
      ];
    }),
};

function experts({ moe }: ModelConfig) {
  if (!moe)
    throw new ConfigError(
      'a mixtral checkpoint is of a mixture of experts, got a config without moe',
    );
  return moe;
}

/** A checkpoint tensor that is whole rows of a parameter, from `begin` on. */
function tensor(hf: string, param: string, hfShape: number[], begin = 0): TensorMapping {
  const rows = hfShape.slice(0, -1).reduce((a, b) => a * b, 1);
  return { hf, hfShape, param, rows: [begin, begin + rows], transposed: false };
}

/** llama's tensors with those of `ofLayer(layer, its prefix)` in place of an MLP's. */
function withExperts(
  config: ModelConfig,
  ofLayer: (layer: number, prefix: string) => TensorMapping[],
): TensorMapping[] {
  const isMlp = /^model\.layers\.(\d+)\.mlp\./;
  return llamaLikeTensors(config).flatMap((t) => {
    const layer = isMlp.exec(t.hf)?.[1];
    if (layer === undefined) return [t];
    // Three of them: the first stands for all.
    if (!t.hf.includes('gate_proj')) return [];
    return ofLayer(Number(layer) + 1, `model.layers.${layer}`);
  });
}
