/**
 * The qwen3 family (dense models): Qwen3ForCausalLM. Every head of q and k has an RMS norm before rope; no biases
 * unless `attention_bias` puts them on q, k, v and o. `head_dim` is 128 where config.json leaves it out.
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
import { checkNoWindow, noWindow, windowFields } from './qwen-window.js';

const schema = z.object({
  ...llamaLikeFields,
  ...windowFields,
  head_dim: dim.default(128),
  attention_bias: z.boolean().default(false),
});

export const qwen3: HfFamily = {
  name: 'qwen3',
  modelType: 'qwen3',
  architectures: { causal: 'Qwen3ForCausalLM', critic: 'Qwen3ForSequenceClassification' },
  ...llamaLikeNames,

  configFromHf(json) {
    const c = parseFields('qwen3', schema, json);
    checkNoWindow('qwen3', c);
    return modelConfigSchema.parse({
      ...llamaLikeFromHf('qwen3', c, json),
      qkNorm: true,
      qkvBias: c.attention_bias,
      projBias: c.attention_bias,
    });
  },

  configToHf(config) {
    const { qkvBias } = config;
    return {
      ...llamaLikeToHf(qwen3, config, { qkNorm: true, qkvBias, projBias: qkvBias }),
      attention_bias: qkvBias,
      ...noWindow,
    };
  },

  tensors: llamaLikeTensors,
};
