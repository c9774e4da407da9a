/** ReaLModelConfig (reference: M1), with the fields a llama and a gpt2 need; a family maps config.json to and from it. */
import { z } from 'zod';

/** RoPE frequencies: `default` or a scaling of them (Llama 3: "llama3"; Chen et al. 2023: "linear"). */
export const ropeSchema = z.object({
  type: z.enum(['default', 'linear', 'llama3']).default('default'),
  base: z.number().positive().default(10000),
  /** linear, llama3 */
  factor: z.number().positive().optional(),
  /** llama3 */
  lowFreqFactor: z.number().positive().optional(),
  highFreqFactor: z.number().positive().optional(),
  /** llama3: positions */
  originalMaxPositions: z.number().int().positive().optional(),
});
export type RopeConfig = z.infer<typeof ropeSchema>;

export const modelConfigSchema = z.object({
  /** Hugging Face family: llama, gpt2, … */
  family: z.string(),
  nLayers: z.number().int().positive(),
  nHeads: z.number().int().positive(),
  nKvHeads: z.number().int().positive(),
  headDim: z.number().int().positive(),
  hiddenDim: z.number().int().positive(),
  intermediateDim: z.number().int().positive(),
  vocabSize: z.number().int().positive(),
  /** Longest sequence in tokens. */
  maxPositions: z.number().int().positive(),
  norm: z.enum(['layer', 'rms', 'gemma']),
  normEps: z.number().positive(),
  mlp: z.enum(['plain', 'gated']),
  activation: z.enum(['gelu', 'gelu_tanh', 'silu', 'relu']),
  /** undefined: learned absolute positions. */
  rope: ropeSchema.optional(),
  qkvBias: z.boolean().default(false),
  projBias: z.boolean().default(false),
  mlpBias: z.boolean().default(false),
  tiedEmbedding: z.boolean().default(false),
  /** Multiplies embeddings (gemma: √hidden). */
  embeddingScale: z.number().default(1),
  /** Multiplies q·k. */
  attentionScale: z.number(),
  /** Also divide scores by (layer + 1): gpt2's scale_attn_by_inverse_layer_idx. */
  scaleAttentionByInverseLayer: z.boolean().default(false),
  /** Standard deviation of a random init. */
  initStd: z.number().positive().default(0.02),
  /** Head [1, hidden] (critic, reward model) instead of [vocab, hidden]. */
  isCritic: z.boolean().default(false),
  bosTokenId: z.number().int().nullable().default(null),
  eosTokenId: z.number().int().nullable().default(null),
  padTokenId: z.number().int().nullable().default(null),
});
export type ModelConfig = z.infer<typeof modelConfigSchema>;
