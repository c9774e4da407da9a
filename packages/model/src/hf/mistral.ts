/**
 * The mistral family: MistralForCausalLM (reference: M7, but the window is applied and not only stored). No biases.
 * `sliding_window` null means none; where config.json leaves it out it is 4096, as in transformers.
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
  sliding_window: dim.nullable().default(4096),
});

export const mistral: HfFamily = {
  name: 'mistral',
  modelType: 'mistral',
  architectures: { causal: 'MistralForCausalLM', critic: 'MistralForSequenceClassification' },
  ...llamaLikeNames,

  configFromHf(json) {
    const c = parseFields('mistral', schema, json);
    return modelConfigSchema.parse({
      ...llamaLikeFromHf('mistral', c, json),
      ...(c.sliding_window === null ? {} : { slidingWindow: c.sliding_window }),
    });
  },

  configToHf(config) {
    const { slidingWindow } = config;
    return {
      ...llamaLikeToHf(mistral, config, { slidingWindow }),
      sliding_window: slidingWindow ?? null,
    };
  },

  tensors: llamaLikeTensors,
};
