/**
 * The gemma family (Gemma 1): GemmaForCausalLM (reference: M8). Norms are (1 + w)·x̂, embeddings are multiplied by
 * √hidden, the head is tied unless config.json says no. The activation is tanh-approximated gelu: `hidden_act: gelu`
 * of the published files means it too.
 */
import { ConfigError, modelConfigSchema } from '@realhf/api';
import { z } from 'zod';
import type { HfFamily } from './family.js';
import { dim, parseFields } from './fields.js';
import {
  activationToHf,
  llamaLikeFields,
  llamaLikeFromHf,
  llamaLikeNames,
  llamaLikeTensors,
  llamaLikeToHf,
} from './llama-like.js';

const tanhGelu = 'gelu_pytorch_tanh';

const schema = z.object({
  ...llamaLikeFields,
  head_dim: dim.default(256),
  hidden_act: z
    .string()
    .default(tanhGelu)
    .transform((name) => (name === 'gelu' ? tanhGelu : name)),
  hidden_activation: z.string().nullish(),
  tie_word_embeddings: z.boolean().default(true),
  attention_bias: z.literal(false).default(false),
  use_bidirectional_attention: z.literal(false).nullish(),
});

export const gemma: HfFamily = {
  name: 'gemma',
  modelType: 'gemma',
  architectures: { causal: 'GemmaForCausalLM', critic: 'GemmaForSequenceClassification' },
  ...llamaLikeNames,

  configFromHf(json) {
    const c = parseFields('gemma', schema, json);
    const hidden_act = c.hidden_activation ?? c.hidden_act;
    if (hidden_act === 'gelu')
      throw new ConfigError(
        `config.json of a gemma: hidden_activation 'gelu' is the exact function to transformers 4 and its approximation to transformers 5; use '${tanhGelu}'`,
      );
    return modelConfigSchema.parse({
      ...llamaLikeFromHf('gemma', { ...c, hidden_act }, json),
      norm: 'gemma',
      embeddingScale: Math.sqrt(c.hidden_size),
    });
  },

  configToHf(config) {
    const { activation } = config;
    const hf = llamaLikeToHf(gemma, config, {
      norm: 'gemma',
      embeddingScale: Math.sqrt(config.hiddenDim),
      // Read back as the approximation.
      activation: activation === 'gelu' ? 'gelu_tanh' : activation,
    });
    return { ...hf, hidden_activation: activationToHf(config), attention_bias: false };
  },

  tensors: llamaLikeTensors,
};
