/** The qwen2 family (Qwen2, Qwen2.5): Qwen2ForCausalLM (reference: M6, with rope scaling). q, k and v have biases, o has none. */
import { modelConfigSchema } from '@realhf/api';
import { z } from 'zod';
import type { HfFamily } from './family.js';
import { parseFields } from './fields.js';
import {
  llamaLikeFields,
  llamaLikeFromHf,
  llamaLikeNames,
  llamaLikeTensors,
  llamaLikeToHf,
} from './llama-like.js';
import { checkNoWindow, noWindow, windowFields } from './qwen-window.js';

const schema = z.object({ ...llamaLikeFields, ...windowFields });

export const qwen2: HfFamily = {
  name: 'qwen2',
  modelType: 'qwen2',
  architectures: { causal: 'Qwen2ForCausalLM', critic: 'Qwen2ForSequenceClassification' },
  ...llamaLikeNames,

  configFromHf(json) {
    const c = parseFields('qwen2', schema, json);
    checkNoWindow('qwen2', c);
    return modelConfigSchema.parse({ ...llamaLikeFromHf('qwen2', c, json), qkvBias: true });
  },

  configToHf(config) {
    return { ...llamaLikeToHf(qwen2, config, { qkvBias: true }), ...noWindow };
  },

  tensors: llamaLikeTensors,
};
