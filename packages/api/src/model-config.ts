/** ReaLModelConfig (reference: M1): what the families of Hugging Face models need; a family maps config.json to and from it. */
import { z } from 'zod';

/**
 * RoPE frequencies: `default` or a scaling of them (Llama 3: "llama3"; Chen et al. 2023: "linear"; Peng et al. 2023:
 * "yarn"). "dynamic" stretches sequences longer than maxPositions, which no model here accepts: up to there it is
 * "default", and only remembered.
 */
export const ropeSchema = z.object({
  type: z.enum(['default', 'linear', 'dynamic', 'llama3', 'yarn']).default('default'),
  base: z.number().positive().default(10000),
  /** all but default */
  factor: z.number().positive().optional(),
  /** llama3 */
  lowFreqFactor: z.number().positive().optional(),
  highFreqFactor: z.number().positive().optional(),
  /** llama3, yarn: positions */
  originalMaxPositions: z.number().int().positive().optional(),
  /** yarn: multiplies cos and sin */
  attentionFactor: z.number().positive().optional(),
  /** yarn: rotations over originalMaxPositions above which a frequency is kept, below which it is divided by factor */
  betaFast: z.number().positive().optional(),
  betaSlow: z.number().positive().optional(),
  /** yarn: whether the bounds of the ramp are rounded outwards to whole dimensions; default true */
  truncate: z.boolean().optional(),
});

/** Rotary position embedding: base and scaling. */
export type RopeConfig = z.infer<typeof ropeSchema>;

/** A mixture of experts in place of every MLP (reference: M2); an expert is a gated MLP of intermediateDim. */
export const moeSchema = z.object({
  numExperts: z.number().int().positive().default(8),
  /** Experts of a token. */
  topK: z.number().int().positive().default(2),
  /**
   * aux_loss: top-k of logits, with the balancing loss; sinkhorn: in training mode top-k of the balanced matrix; none:
   * top-k without the loss.
   */
  routing: z.enum(['aux_loss', 'sinkhorn', 'none']).default('aux_loss'),
  /** Times E·Σ_e (Σ_t softmax_e)(copies of e)/(tokens·k)². */
  auxLossCoeff: z.number().nonnegative().default(1e-3),
  /** Times mean(logsumexp²). */
  zLossCoeff: z.number().nonnegative().default(0),
  /** In train steps an expert keeps ⌈tokens·k/E·factor⌉ copies; undefined: all. */
  capacityFactor: z.number().positive().optional(),
  /** Which copies are kept: those of the highest weight, or the first. */
  tokenDropPolicy: z.enum(['probs', 'position']).default('probs'),
  /** In training mode the router's input is multiplied by uniform numbers in 1 ± eps. */
  inputJitterEps: z.number().min(0).lt(1).default(0),
});

/** Options of a mixture of experts, defaults filled in. */
export type MoeConfig = z.infer<typeof moeSchema>;

const probability = z.number().min(0).lt(1).default(0);

/** Schema of a transformer's architecture: what a family of Hugging Face is translated to. */
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
  /** undefined: one MLP. */
  moe: moeSchema.optional(),
  /** undefined: learned absolute positions. */
  rope: ropeSchema.optional(),
  /** RMS norm of every head of q and k before rope (Qwen3), with weights of headDim that all heads share. */
  qkNorm: z.boolean().default(false),
  /** A token attends itself and the slidingWindow − 1 tokens before it; undefined: all before it. */
  slidingWindow: z.number().int().positive().optional(),
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
  /** Dropout in training mode: of embeddings, of what attention and MLP add to the residual, of attention weights. */
  embdDropout: probability,
  residDropout: probability,
  attnDropout: probability,
  /** Standard deviation of a random init. */
  initStd: z.number().positive().default(0.02),
  /** Head [1, hidden] (critic, reward model) instead of [vocab, hidden]. */
  isCritic: z.boolean().default(false),
  bosTokenId: z.number().int().nullable().default(null),
  eosTokenId: z.number().int().nullable().default(null),
  padTokenId: z.number().int().nullable().default(null),
});

/** A transformer's architecture, defaults filled in. */
export type ModelConfig = z.infer<typeof modelConfigSchema>;
