/**
 * The llama family (Llama 1 to 3.2, CodeLlama, DeepSeek-LLM): LlamaForCausalLM (reference: M5, but tied embeddings
 * and both spellings of rope scaling are honoured). `attention_bias` puts a bias on q, k, v and o.
 */
import { modelConfigSchema } from '@realhf/api';
import { z } from 'zod';
import type { HfFamily } from './family.js';
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
  num_key_value_heads: dim.nullable().default(null),
  max_position_embeddings: dim.default(2048),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
});

export const llama: HfFamily = {
  name: 'llama',
  modelType: 'llama',
  architectures: { causal: 'LlamaForCausalLM', critic: 'LlamaForSequenceClassification' },
  ...llamaLikeNames,

  configFromHf(json) {
    const c = parseFields('llama', schema, json);
    return modelConfigSchema.parse({
      ...llamaLikeFromHf('llama', c, json),
      qkvBias: c.attention_bias,
      projBias: c.attention_bias,
      mlpBias: c.mlp_bias,
    });
  },

  configToHf(config) {
    const { qkvBias, mlpBias } = config;
    return {
      ...llamaLikeToHf(llama, config, { qkvBias, projBias: qkvBias, mlpBias }),
      attention_bias: qkvBias,
      mlp_bias: mlpBias,
    };
  },

  tensors: llamaLikeTensors,
};
