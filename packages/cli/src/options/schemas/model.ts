/**
 * Options of one model (reference: O7). A model is a directory in Hugging Face layout (config.json, safetensors,
 * tokenizer.json); its family and sizes are read from there. `type.*` exists for the field's command lines: what
 * it says must agree with the role and the checkpoint.
 */
import { optimizerSchema } from '@realhf/api';
import { z } from 'zod';
import type { Report } from './common.js';
import { checkLora, hasLora, loraSchema, type LoraOptions } from './lora.js';

const typeSchema = z.object({
  _class: z
    .string()
    .nullable()
    .default(null)
    .describe('family (llama, gpt2, …); null: what config.json says'),
  size: z
    .number()
    .nonnegative()
    .nullable()
    .default(null)
    .describe('a label in billions of parameters; sizes are read from config.json'),
  is_critic: z
    .boolean()
    .nullable()
    .default(null)
    .describe('scalar head instead of a vocabulary head; null: by the role'),
});

/** Schema of a model in training. */
export const modelSchema = z.object({
  path: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('directory with config.json, safetensors and tokenizer.json'),
  init_from_scratch: z
    .boolean()
    .default(false)
    .describe('random weights from the seed instead of those in path'),
  config: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      'config.json, or a directory with it and a tokenizer, for init_from_scratch; null: path',
    ),
  init_critic_from_actor: z
    .boolean()
    .default(false)
    .describe('path holds a language model: drop its head, start with a fresh scalar head'),
  gradient_checkpointing: z
    .boolean()
    .default(true)
    .describe('recompute activations in the backward pass: less memory, more time'),
  optimizer: optimizerSchema.prefault({}).describe('AdamW and its schedule'),
  type: typeSchema.prefault({}).describe('what the checkpoint should be'),
  lora: loraSchema
    .prefault({})
    .describe('a low-rank adapter that is trained in place of the weights'),
});

/** Options of a model in training. */
export type ModelOptions = z.infer<typeof modelSchema>;

/** A model that is only run: reference and reward. */
export const frozenModelSchema = modelSchema.omit({
  optimizer: true,
  gradient_checkpointing: true,
  lora: true,
});

/** Options of a model that is only run. */
export type FrozenModelOptions = z.infer<typeof frozenModelSchema>;

/** Of a model in training or of a frozen one. */
export type AnyModelOptions = FrozenModelOptions & {
  readonly gradient_checkpointing?: boolean;
  readonly lora?: LoraOptions;
};

/**
 * Options of the reference: the actor's weights where it has no path and the actor trains an adapter, beside which they
 * stay as they were.
 */
export function referenceOptions(actor: ModelOptions, ref: FrozenModelOptions): FrozenModelOptions {
  if (!hasLora(actor.lora) || ref.path !== null || ref.init_from_scratch) return ref;
  const { path, init_from_scratch, config } = actor;
  return { ...ref, path, init_from_scratch, config };
}

/** Checks one role's model; `role` is its key in the config. */
export function checkModel(
  model: AnyModelOptions,
  role: string,
  isCritic: boolean,
  report: Report,
): void {
  checkLora(model.lora, role, report);
  if (model.path === null && !model.init_from_scratch)
    report(
      [role, 'path'],
      `a checkpoint directory is needed; set ${role}.path, or ${role}.init_from_scratch=true and ${role}.config`,
    );
  if (model.path === null && model.init_from_scratch && model.config === null)
    report([role, 'config'], `init_from_scratch needs ${role}.config or ${role}.path`);
  if (model.config !== null && !model.init_from_scratch)
    report([role, 'config'], `it is read only with ${role}.init_from_scratch=true`);
  if (model.type.is_critic !== null && model.type.is_critic !== isCritic)
    report(
      [role, 'type', 'is_critic'],
      `the role '${role}' has a ${isCritic ? 'scalar' : 'vocabulary'} head; leave it out`,
    );
  if (!isCritic && model.init_critic_from_actor)
    report([role, 'init_critic_from_actor'], `the role '${role}' is no critic; leave it out`);
}
