/**
 * What the families with llama's layout share: RMS norms, a gated MLP, rotary positions, and the names of tensors.
 * A family file says what differs: biases, windows, norms of heads, defaults, which fields its checkpoints have.
 */
import type { ModelConfig, modelConfigSchema } from '@realhf/api';
import { z } from 'zod';
import {
  architectureFields,
  isClassifier,
  isStandardScale,
  requireFields,
  type HfConfig,
  type HfFamily,
  type TensorMapping,
} from './family.js';
import { activationFromHf, dim, dropout, tokenId } from './fields.js';
import { headMapping } from './mapping.js';
import { ropeFromHf, ropeToHf } from './rope.js';

/** Fields of config.json that all of them have. */
export const llamaLikeFields = {
  hidden_size: dim,
  intermediate_size: dim,
  num_hidden_layers: dim,
  num_attention_heads: dim,
  num_key_value_heads: dim.nullable(),
  head_dim: dim.nullish(),
  vocab_size: dim,
  max_position_embeddings: dim,
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: z.string().default('silu'),
  initializer_range: z.number().positive().default(0.02),
  tie_word_embeddings: z.boolean().default(false),
  attention_dropout: dropout,
  bos_token_id: tokenId,
  eos_token_id: tokenId,
  pad_token_id: tokenId,
};
type Fields = z.infer<z.ZodObject<typeof llamaLikeFields>>;

export const llamaLikeNames = {
  basePrefix: 'model.',
  ignored: /(^|\.)rotary_emb\.inv_freq$/,
};

/** The ModelConfig but for what differs, from parsed fields and, for rope and architecture, the whole file. */
export function llamaLikeFromHf(
  family: string,
  c: Fields,
  json: HfConfig,
): z.input<typeof modelConfigSchema> {
  const headDim = c.head_dim ?? Math.floor(c.hidden_size / c.num_attention_heads);
  return {
    family,
    nLayers: c.num_hidden_layers,
    nHeads: c.num_attention_heads,
    nKvHeads: c.num_key_value_heads ?? c.num_attention_heads,
    headDim,
    hiddenDim: c.hidden_size,
    intermediateDim: c.intermediate_size,
    vocabSize: c.vocab_size,
    maxPositions: c.max_position_embeddings,
    norm: 'rms',
    normEps: c.rms_norm_eps,
    mlp: 'gated',
    activation: activationFromHf('hidden_act', c.hidden_act),
    rope: ropeFromHf(family, json),
    tiedEmbedding: c.tie_word_embeddings,
    attentionScale: 1 / Math.sqrt(headDim),
    attnDropout: c.attention_dropout,
    initStd: c.initializer_range,
    isCritic: isClassifier(json),
    bosTokenId: c.bos_token_id,
    eosTokenId: c.eos_token_id,
    padTokenId: c.pad_token_id,
  };
}

/** `hidden_act` as transformers calls it. */
export const activationToHf = ({ activation }: ModelConfig) =>
  activation === 'gelu_tanh' ? 'gelu_pytorch_tanh' : activation;

/** config.json but for what differs. `differs` has the fields that the family stores; of the others it requires the usual values. Throws ConfigError. */
export function llamaLikeToHf(
  family: Pick<HfFamily, 'name' | 'architectures' | 'modelType'>,
  config: ModelConfig,
  differs: Partial<Record<keyof ModelConfig, unknown>>,
): Record<string, unknown> {
  requireFields(family.name, config, {
    norm: 'rms',
    mlp: 'gated',
    moe: undefined,
    embdDropout: 0,
    residDropout: 0,
    qkNorm: false,
    slidingWindow: undefined,
    qkvBias: false,
    projBias: false,
    mlpBias: false,
    embeddingScale: 1,
    attentionScale: isStandardScale(config) ? config.attentionScale : 1 / Math.sqrt(config.headDim),
    scaleAttentionByInverseLayer: false,
    rope: config.rope ?? { type: 'default' },
    ...differs,
  });
  return {
    ...architectureFields(family, config),
    hidden_size: config.hiddenDim,
    intermediate_size: config.intermediateDim,
    num_hidden_layers: config.nLayers,
    num_attention_heads: config.nHeads,
    num_key_value_heads: config.nKvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabSize,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.normEps,
    hidden_act: activationToHf(config),
    initializer_range: config.initStd,
    attention_dropout: config.attnDropout,
    tie_word_embeddings: config.tiedEmbedding,
    use_cache: true,
    ...ropeToHf(config.rope!),
  };
}

/** All tensors: q, k and v are row ranges of one parameter, so are gate and up. */
export function llamaLikeTensors(config: ModelConfig): TensorMapping[] {
  const h = config.hiddenDim;
  const d = config.headDim;
  const q = config.nHeads * d;
  const kv = config.nKvHeads * d;
  const inter = config.intermediateDim;
  const out: TensorMapping[] = [];
  const add = (hf: string, param: string, hfShape: number[], begin = 0) =>
    out.push({ hf, hfShape, param, rows: [begin, begin + hfShape[0]!], transposed: false });
  const norm = (hf: string, param: string, n: number) =>
    add(`${hf}.weight`, `${param}.weight`, [n]);
  const linear = (
    hf: string,
    param: string,
    rows: number,
    columns: number,
    bias: boolean,
    begin = 0,
  ) => {
    add(`${hf}.weight`, `${param}.weight`, [rows, columns], begin);
    if (bias) add(`${hf}.bias`, `${param}.bias`, [rows], begin);
  };

  add('model.embed_tokens.weight', '0.wte.weight', [config.vocabSize, h]);
  for (let l = 1; l <= config.nLayers; l++) {
    const at = `model.layers.${l - 1}`;
    const { qkvBias, projBias, mlpBias } = config;
    norm(`${at}.input_layernorm`, `${l}.attn.ln`, h);
    linear(`${at}.self_attn.q_proj`, `${l}.attn.qkv`, q, h, qkvBias);
    linear(`${at}.self_attn.k_proj`, `${l}.attn.qkv`, kv, h, qkvBias, q);
    linear(`${at}.self_attn.v_proj`, `${l}.attn.qkv`, kv, h, qkvBias, q + kv);
    if (config.qkNorm) {
      norm(`${at}.self_attn.q_norm`, `${l}.attn.q_norm`, d);
      norm(`${at}.self_attn.k_norm`, `${l}.attn.k_norm`, d);
    }
    linear(`${at}.self_attn.o_proj`, `${l}.attn.o`, h, q, projBias);
    norm(`${at}.post_attention_layernorm`, `${l}.mlp.ln`, h);
    linear(`${at}.mlp.gate_proj`, `${l}.mlp.gate_up`, inter, h, mlpBias);
    linear(`${at}.mlp.up_proj`, `${l}.mlp.gate_up`, inter, h, mlpBias, inter);
    linear(`${at}.mlp.down_proj`, `${l}.mlp.down`, h, inter, mlpBias);
  }
  norm('model.norm', `${config.nLayers + 1}.ln_f`, h);
  return [...out, ...headMapping(config)];
}
