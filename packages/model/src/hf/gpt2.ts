/**
 * The gpt2 family: GPT2LMHeadModel (reference: M4). Its linear layers are Conv1D, stored [in, out]. Embeddings are
 * tied unless `tie_word_embeddings` says no. Where config.json has no probability of dropout it is 0.1, as in transformers.
 */
import { ConfigError, modelConfigSchema, type ModelConfig } from '@realhf/api';
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

const probability = z.number().min(0).lt(1).default(0.1);

const schema = z.object({
  n_embd: dim,
  n_layer: dim,
  n_head: dim,
  n_positions: dim.default(1024),
  n_inner: dim.nullish(),
  vocab_size: dim,
  activation_function: z.string().default('gelu_new'),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  initializer_range: z.number().positive().default(0.02),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  add_cross_attention: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(true),
  embd_pdrop: probability,
  resid_pdrop: probability,
  attn_pdrop: probability,
  bos_token_id: tokenId,
  eos_token_id: tokenId,
  pad_token_id: tokenId,
});

const names = {
  name: 'gpt2',
  modelType: 'gpt2',
  architectures: { causal: 'GPT2LMHeadModel', critic: 'GPT2ForSequenceClassification' },
};

/** Throws ConfigError for another scale of q·k than 1/√headDim and 1. */
function scalesAttention(config: ModelConfig): boolean {
  if (isStandardScale(config)) return true;
  requireFields('gpt2', config, { attentionScale: 1 });
  return false;
}

export const gpt2: HfFamily = {
  ...names,
  basePrefix: 'transformer.',
  ignored: /(^|\.)attn\.(masked_)?bias$/,

  configFromHf(json) {
    const c = parseFields('gpt2', schema, json);
    const headDim = Math.floor(c.n_embd / c.n_head);
    if (headDim * c.n_head !== c.n_embd)
      throw new ConfigError(
        `config.json of a gpt2: n_embd ${c.n_embd} is not a multiple of n_head ${c.n_head}; correct the file`,
      );
    return modelConfigSchema.parse({
      family: 'gpt2',
      nLayers: c.n_layer,
      nHeads: c.n_head,
      nKvHeads: c.n_head,
      headDim,
      hiddenDim: c.n_embd,
      intermediateDim: c.n_inner ?? 4 * c.n_embd,
      vocabSize: c.vocab_size,
      maxPositions: c.n_positions,
      norm: 'layer',
      normEps: c.layer_norm_epsilon,
      mlp: 'plain',
      activation: activationFromHf('activation_function', c.activation_function),
      qkvBias: true,
      projBias: true,
      mlpBias: true,
      tiedEmbedding: c.tie_word_embeddings,
      attentionScale: c.scale_attn_weights ? 1 / Math.sqrt(headDim) : 1,
      scaleAttentionByInverseLayer: c.scale_attn_by_inverse_layer_idx,
      embdDropout: c.embd_pdrop,
      residDropout: c.resid_pdrop,
      attnDropout: c.attn_pdrop,
      initStd: c.initializer_range,
      isCritic: isClassifier(json),
      bosTokenId: c.bos_token_id,
      eosTokenId: c.eos_token_id,
      padTokenId: c.pad_token_id,
    });
  },

  configToHf(config) {
    requireFields('gpt2', config, {
      norm: 'layer',
      mlp: 'plain',
      moe: undefined,
      rope: undefined,
      qkvBias: true,
      projBias: true,
      mlpBias: true,
      nKvHeads: config.nHeads,
      hiddenDim: config.nHeads * config.headDim,
      embeddingScale: 1,
      qkNorm: false,
      slidingWindow: undefined,
    });
    return {
      ...architectureFields(names, config),
      n_embd: config.hiddenDim,
      n_layer: config.nLayers,
      n_head: config.nHeads,
      n_positions: config.maxPositions,
      n_inner: config.intermediateDim === 4 * config.hiddenDim ? null : config.intermediateDim,
      vocab_size: config.vocabSize,
      activation_function: config.activation === 'gelu_tanh' ? 'gelu_new' : config.activation,
      layer_norm_epsilon: config.normEps,
      initializer_range: config.initStd,
      scale_attn_weights: scalesAttention(config),
      scale_attn_by_inverse_layer_idx: config.scaleAttentionByInverseLayer,
      attn_pdrop: config.attnDropout,
      embd_pdrop: config.embdDropout,
      resid_pdrop: config.residDropout,
      tie_word_embeddings: config.tiedEmbedding,
      use_cache: true,
    };
  },

  tensors(config) {
    const h = config.hiddenDim;
    const inter = config.intermediateDim;
    const out: TensorMapping[] = [];
    const whole = (hf: string, param: string, shape: number[], transposed = false) =>
      out.push({
        hf: `transformer.${hf}`,
        hfShape: shape,
        param,
        rows: [0, shape[transposed ? 1 : 0]!],
        transposed,
      });
    const norm = (hf: string, param: string) => {
      whole(`${hf}.weight`, `${param}.weight`, [h]);
      whole(`${hf}.bias`, `${param}.bias`, [h]);
    };
    const conv1d = (hf: string, param: string, inn: number, outDim: number) => {
      whole(`${hf}.weight`, `${param}.weight`, [inn, outDim], true);
      whole(`${hf}.bias`, `${param}.bias`, [outDim]);
    };

    whole('wte.weight', '0.wte.weight', [config.vocabSize, h]);
    whole('wpe.weight', '0.wpe.weight', [config.maxPositions, h]);
    for (let l = 1; l <= config.nLayers; l++) {
      const at = `h.${l - 1}`;
      norm(`${at}.ln_1`, `${l}.attn.ln`);
      conv1d(`${at}.attn.c_attn`, `${l}.attn.qkv`, h, 3 * h);
      conv1d(`${at}.attn.c_proj`, `${l}.attn.o`, h, h);
      norm(`${at}.ln_2`, `${l}.mlp.ln`);
      conv1d(`${at}.mlp.c_fc`, `${l}.mlp.fc`, h, inter);
      conv1d(`${at}.mlp.c_proj`, `${l}.mlp.down`, inter, h);
    }
    norm('ln_f', `${config.nLayers + 1}.ln_f`);
    return [...out, ...headMapping(config)];
  },
};
