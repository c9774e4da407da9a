/** Options of a low-rank adapter, under `<role>.lora.` of models in training. */
import { loraTargets } from '@realhf/model';
import { z } from 'zod';

import type { Report } from './common.js';

export const loraSchema = z.object({
  rank: z
    .number()
    .int()
    .positive()
    .nullable()
    .default(null)
    .describe('train an adapter of this rank and leave the weights as they are; null: no adapter'),
  alpha: z
    .number()
    .positive()
    .default(16)
    .describe('the adapter counts alpha/rank times (alpha/√rank with rslora)'),
  dropout: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("of the adapter's inputs; only 0 is supported"),
  targets: z
    .array(z.enum(loraTargets))
    .min(1)
    .default(['q_proj', 'k_proj', 'v_proj', 'o_proj'])
    .describe(
      'adapted weights, by the names of PEFT; in a gpt2, up_proj and down_proj are the MLP',
    ),
  rslora: z.boolean().default(false).describe('scale by alpha/√rank (rank-stabilized LoRA)'),
  path: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe("a PEFT folder to go on with; rank, alpha, targets and rslora are the folder's"),
});
export type LoraOptions = z.infer<typeof loraSchema>;

/** Whether there is an adapter. */
export function hasLora(lora: LoraOptions | undefined): lora is LoraOptions {
  return lora !== undefined && (lora.rank !== null || lora.path !== null);
}

/** `role` is the model's key in the config. */
export function checkLora(lora: LoraOptions | undefined, role: string, report: Report): void {
  if (!lora) return;
  if (lora.dropout > 0)
    report([role, 'lora', 'dropout'], 'dropout of adapters is not supported; leave it out');
  if (lora.rank !== null && lora.path !== null)
    report([role, 'lora', 'rank'], `the adapter in ${role}.lora.path has one; leave it out`);
}
