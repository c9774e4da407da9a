/**
 * What the quickstart trains and for how long. Sizes follow the speed of software Vulkan on two cores (2–3 GFLOP/s):
 * about 400 GFLOP in all. On a GPU the same run is bound by dispatches and takes a fraction of the time.
 */
import { join } from 'node:path';

import { generationSchema } from '@realhf/api';

import { ppoSchema, type PpoConfig } from '../options/schemas/ppo.js';
import { rwSchema, type RwConfig } from '../options/schemas/rw.js';
import { sftSchema, type SftConfig } from '../options/schemas/sft.js';

/** Nats per token that the final policy may be away from the SFT model; seeds ended at 0.33 to 0.53. */
export const klCap = 0.75;
/** Tokens a continuation has at most. */
export const maxNewTokens = 20;

/** config.json of the language model: a llama of about 250k parameters. */
export const modelJson = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 192,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  head_dim: 32,
  hidden_act: 'silu',
  max_position_embeddings: 64,
  vocab_size: 2304,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: 0,
  eos_token_id: 0,
  pad_token_id: 1,
  initializer_range: 0.05,
};

export const presetNames = ['standard', 'tiny'] as const;
export type PresetName = (typeof presetNames)[number];

/** What differs between presets. */
export interface Preset {
  /** Fields of config.json. */
  readonly model: Partial<typeof modelJson>;
  /** Steps at most; null: all that the epochs have. */
  readonly steps: { readonly sft: number | null; readonly rw: number | null; readonly ppo: number };
  /** Steps between checkpoints. */
  readonly save: { readonly sft: number; readonly rw: number; readonly ppo: number };
  /** Prompts of a PPO step. */
  readonly ppoPrompts: number;
}

/** `tiny` runs every part for a few steps and learns nothing: it is there for tests. */
export const presets: Readonly<Record<PresetName, Preset>> = {
  standard: {
    model: {},
    steps: { sft: null, rw: null, ppo: 32 },
    save: { sft: 100, rw: 100, ppo: 8 },
    ppoPrompts: 64,
  },
  tiny: {
    model: { hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, head_dim: 16 },
    steps: { sft: 6, rw: 3, ppo: 3 },
    save: { sft: 2, rw: 2, ppo: 1 },
    ppoPrompts: 16,
  },
};

/** What a stage runs, and where it reads and writes. */
export interface StagePaths {
  readonly preset: Preset;
  /** The data and tokenizer of the quickstart. */
  readonly assets: string;
  /** fileroot of the stages' run directories. */
  readonly runs: string;
  readonly seed: number;
}

const common = ({ runs, seed }: StagePaths, trial: string) => ({
  experiment_name: 'quickstart',
  trial_name: trial,
  fileroot: runs,
  seed,
  recover_mode: 'auto' as const,
});
const optimizer = (lr: number) => ({
  lr,
  warmup_steps_proportion: 0.03,
  min_lr_ratio: 0.1,
  weight_decay: 0.05,
});

export function sftConfig(p: StagePaths, initDir: string): SftConfig {
  return sftSchema.parse({
    ...common(p, 'sft'),
    exp_ctrl: {
      total_train_epochs: 2,
      benchmark_steps: p.preset.steps.sft,
      save_freq_steps: p.preset.save.sft,
      eval_freq_epochs: 1,
      keep_checkpoints: 1,
    },
    model: {
      init_from_scratch: true,
      config: initDir,
      gradient_checkpointing: false,
      optimizer: optimizer(4e-3),
    },
    dataset: {
      train_path: join(p.assets, 'sft-train.jsonl'),
      valid_path: join(p.assets, 'sft-valid.jsonl'),
      train_bs_n_seqs: 16,
    },
  });
}

export function rwConfig(p: StagePaths, sftDir: string): RwConfig {
  return rwSchema.parse({
    ...common(p, 'rw'),
    exp_ctrl: {
      total_train_epochs: 1,
      benchmark_steps: p.preset.steps.rw,
      save_freq_steps: p.preset.save.rw,
      eval_freq_epochs: 1,
      keep_checkpoints: 1,
    },
    model: { path: sftDir, gradient_checkpointing: false, optimizer: optimizer(2e-3) },
    dataset: {
      train_path: join(p.assets, 'rw-train.jsonl'),
      valid_path: join(p.assets, 'rw-valid.jsonl'),
      train_bs_n_seqs: 16,
    },
  });
}

/** `score`: mean and deviation of the reward model's output on samples of the SFT model. */
export function ppoConfig(
  p: StagePaths,
  sftDir: string,
  rwDir: string,
  score: { mean: number; std: number },
): PpoConfig {
  return ppoSchema.parse({
    ...common(p, 'ppo'),
    exp_ctrl: {
      total_train_epochs: 2,
      benchmark_steps: p.preset.steps.ppo,
      save_freq_steps: p.preset.save.ppo,
      keep_checkpoints: 1,
    },
    actor: {
      path: sftDir,
      gradient_checkpointing: false,
      optimizer: { ...optimizer(1e-3), lr_scheduler_type: 'constant' },
    },
    critic: {
      path: rwDir,
      init_critic_from_actor: true,
      gradient_checkpointing: false,
      optimizer: { ...optimizer(2e-3), lr_scheduler_type: 'constant' },
    },
    ref: { path: sftDir },
    rew: { path: rwDir },
    dataset: {
      path: join(p.assets, 'prompts-train.jsonl'),
      train_bs_n_seqs: p.preset.ppoPrompts,
      max_prompt_len: 12,
    },
    ppo: {
      gen: {
        max_new_tokens: maxNewTokens,
        min_new_tokens: 1,
        top_p: 1,
        top_k: modelJson.vocab_size,
      },
      ppo_n_minibatches: 4,
      kl_ctl: 0.1,
      gae_lambda: 0.95,
      max_reward_clip: 3,
      reward_output_bias: score.mean,
      reward_output_scaling: 1 / score.std,
    },
  });
}

/** Sampling for the comparison before and after: plain, at temperature 1. */
export const evalGeneration = generationSchema.parse({
  max_new_tokens: maxNewTokens,
  min_new_tokens: 1,
  top_p: 1,
  top_k: modelJson.vocab_size,
});
