/**
 * The llama family (Llama 1 to 3.2, CodeLlama, DeepSeek-LLM): LlamaForCausalLM (reference: M5, but tied embeddings
 * and both spellings of rope scaling are honoured). `attention_bias` puts a bias on q, k, v and o.
 */
import { modelConfigSchema } from '@realhf/api';
import { z } from 'zod';
import {
  architectureFields,
  isClassifier,
  isStandardScale,
  requireFields,
  type HfFamily,
  type TensorMapping,
} from './family.js';
import { activationFromHf, dim, parseFields, tokenId } from './fields.js';
import { headMapping } from './mapping.js';
import { ropeFromHf, ropeToHf } from './rope.js';

const schema = z.object({
  hidden_size: dim,
  intermediate_size: dim,
  num_hidden_layers: dim,
  num_attention_heads: dim,
  num_key_value_heads: dim.nullish(),
  head_dim: dim.nullish(),
  vocab_size: dim,
  max_position_embeddings: dim.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: z.string().default('silu'),
  initializer_range: z.number().positive().default(0.02),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: tokenId,
  eos_token_id: tokenId,
  pad_token_id: tokenId,
});

const names = {
  name: 'llama',
  modelType: 'llama',
  architectures: { causal: 'LlamaForCausalLM', critic: 'LlamaForSequenceClassification' },
};

export const llama: HfFamily = {
  ...names,
  basePrefix: 'model.',
  ignored: /(^|\.)rotary_emb\.inv_freq$/,

  configFromHf(json) {
    const c = parseFields('llama', schema, json);
    const headDim = c.head_dim ?? Math.floor(c.hidden_size / c.num_attention_heads);
    return modelConfigSchema.parse({
      family: 'llama',
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
      rope: ropeFromHf('llama', json),
      qkvBias: c.attention_bias,
      projBias: c.attention_bias,
      mlpBias: c.mlp_bias,
      tiedEmbedding: c.tie_word_embeddings,
      attentionScale: 1 / Math.sqrt(headDim),
      initStd: c.initializer_range,
      isCritic: isClassifier(json),
      bosTokenId: c.bos_token_id,
      eosTokenId: c.eos_token_id,
      padTokenId: c.pad_token_id,
    });
  },

  configToHf(config) {
    requireFields('llama', config, {
      norm: 'rms',
      mlp: 'gated',
      projBias: config.qkvBias,
      embeddingScale: 1,
      attentionScale: isStandardScale(config)
        ? config.attentionScale
        : 1 / Math.sqrt(config.headDim),
      scaleAttentionByInverseLayer: false,
      rope: config.rope ?? { type: 'default' },
    });
    return {
      ...architectureFields(names, config),
      hidden_size: config.hiddenDim,
      intermediate_size: config.intermediateDim,
      num_hidden_layers: config.nLayers,
      num_attention_heads: config.nHeads,
      num_key_value_heads: config.nKvHeads,
      head_dim: config.headDim,
      vocab_size: config.vocabSize,
      max_position_embeddings: config.maxPositions,
      rms_norm_eps: config.normEps,
      hidden_act: config.activation === 'gelu_tanh' ? 'gelu_pytorch_tanh' : config.activation,
      initializer_range: config.initStd,
      attention_bias: config.qkvBias,
      mlp_bias: config.mlpBias,
      attention_dropout: 0,
      tie_word_embeddings: config.tiedEmbedding,
      use_cache: true,
      ...ropeToHf(config.rope!),
    };
  },

  tensors(config) {
    const h = config.hiddenDim;
    const q = config.nHeads * config.headDim;
    const kv = config.nKvHeads * config.headDim;
    const inter = config.intermediateDim;
    const out: TensorMapping[] = [];
    const vector = (hf: string, param: string, n: number, begin = 0) =>
      out.push({ hf, hfShape: [n], param, rows: [begin, begin + n], transposed: false });
    const matrix = (hf: string, param: string, rows: number, columns: number, begin = 0) =>
      out.push({
        hf,
        hfShape: [rows, columns],
        param,
        rows: [begin, begin + rows],
        transposed: false,
      });
    const linear = (
      hf: string,
      param: string,
      rows: number,
      columns: number,
      bias: boolean,
      begin = 0,
    ) => {
      matrix(`${hf}.weight`, `${param}.weight`, rows, columns, begin);
      if (bias) vector(`${hf}.bias`, `${param}.bias`, rows, begin);
    };

    matrix('model.embed_tokens.weight', '0.wte.weight', config.vocabSize, h);
    for (let l = 1; l <= config.nLayers; l++) {
      const at = `model.layers.${l - 1}`;
      vector(`${at}.input_layernorm.weight`, `${l}.attn.ln.weight`, h);
      const { qkvBias, projBias, mlpBias } = config;
      linear(`${at}.self_attn.q_proj`, `${l}.attn.qkv`, q, h, qkvBias);
      linear(`${at}.self_attn.k_proj`, `${l}.attn.qkv`, kv, h, qkvBias, q);
      linear(`${at}.self_attn.v_proj`, `${l}.attn.qkv`, kv, h, qkvBias, q + kv);
      linear(`${at}.self_attn.o_proj`, `${l}.attn.o`, h, q, projBias);
      vector(`${at}.post_attention_layernorm.weight`, `${l}.mlp.ln.weight`, h);
      linear(`${at}.mlp.gate_proj`, `${l}.mlp.gate_up`, inter, h, mlpBias);
      linear(`${at}.mlp.up_proj`, `${l}.mlp.gate_up`, inter, h, mlpBias, inter);
      linear(`${at}.mlp.down_proj`, `${l}.mlp.down`, h, inter, mlpBias);
    }
    vector('model.norm.weight', `${config.nLayers + 1}.ln_f.weight`, h);
    return [...out, ...headMapping(config)];
  },
};
