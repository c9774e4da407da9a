/** Options that every experiment has (reference: S1–S5). Shapes, not schemas: experiments compose and check them. */
import { expControlSchema } from '@realhf/dataflow';
import { z } from 'zod';

import { clusterShape } from './cluster.js';

const safeName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const safeNameText =
  'expected letters, digits, dots, dashes and underscores (it names a directory)';

/** Schema of `exp_ctrl`: length of a run, checkpoints, evaluation. */
export const expCtrlSchema = expControlSchema.extend({
  keep_checkpoints: z
    .number()
    .int()
    .positive()
    .nullable()
    .default(null)
    .describe('keep only the newest so many checkpoints; null: all'),
});

/** Options of `exp_ctrl`. */
export type ExpCtrl = z.infer<typeof expCtrlSchema>;

/** Options that all commands have, to be spread into a schema of one's own. */
export const commonShape = {
  experiment_name: z
    .string()
    .regex(safeName, safeNameText)
    .describe('names the run together with trial_name'),
  trial_name: z
    .string()
    .regex(safeName, safeNameText)
    .nullable()
    .default(null)
    .describe("null: 'run' and the time of the start"),
  mode: z.enum(['local']).default('local').describe('where workers run: this machine'),
  ...clusterShape,
  fileroot: z
    .string()
    .min(1)
    .default('real-runs')
    .describe('directory of all runs; one is in experiment_name/trial_name below it'),
  seed: z
    .number()
    .int()
    .nonnegative()
    .default(1)
    .describe('of initial weights, data order and sampling'),
  matmul_precision: z
    .enum(['f32', 'f16'])
    .default('f32')
    .describe(
      'f16: matrix products of f16 operands with f32 sums, where the adapter has matrix units',
    ),
  deterministic: z
    .boolean()
    .default(false)
    .describe(
      'with matmul_precision=f16: attention in f32, so that sampled and recomputed log-probs are the same bits',
    ),
  save: z
    .object({
      dtype: z
        .enum(['f32', 'f16', 'bf16'])
        .default('f32')
        .describe(
          'type of the weights in saved models; a resumed run goes on from f32 in any case',
        ),
      lora: z
        .enum(['merged', 'adapter'])
        .default('merged')
        .describe(
          'of models with an adapter: whole models with the adapter in their weights, or PEFT folders of the adapter (f32)',
        ),
    })
    .prefault({})
    .describe('saved models (Hugging Face directories)'),
  recover_mode: z
    .enum(['disabled', 'auto', 'resume'])
    .default('disabled')
    .describe('auto: go on from the newest checkpoint if there is one; resume: there must be one'),
  recover_retries: z
    .number()
    .int()
    .nonnegative()
    .default(1)
    .describe('with recover_mode=auto: starts anew after so many deaths of workers'),
  exp_ctrl: expCtrlSchema.prefault({}).describe('length of the run, saving, evaluation'),
} as const;

/** Options that all commands have, defaults filled in. */
export type CommonConfig = z.infer<z.ZodObject<typeof commonShape>>;

/** A check that spans options: `report(path, message)` names the option at fault. */
export type Report = (path: readonly (string | number)[], message: string) => void;

/** Turns `(config, report)` checks into a zod refinement. */
export function checks<T>(
  ...all: readonly ((config: T, report: Report) => void)[]
): (config: T, context: z.core.$RefinementCtx<T>) => void {
  return (config, context) => {
    const report: Report = (path, message) => {
      context.addIssue({ code: 'custom', path: [...path], message });
    };
    for (const check of all) check(config, report);
  };
}

/** Checks that span the options that all commands have. */
export function checkCommon(
  config: Pick<CommonConfig, 'recover_mode' | 'trial_name'>,
  report: Report,
): void {
  if (config.recover_mode === 'resume' && config.trial_name === null)
    report(['trial_name'], 'recover_mode=resume needs the trial_name of the run to go on with');
}
