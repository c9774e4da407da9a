/** The `real verify` command. */
import { CheckpointError } from '@realhf/api';
import { adapterChoices } from '@realhf/backends/node';
import { z } from 'zod';

import { openOps } from '../experiments/open-ops.js';
import { defineCommand } from '../options/command.js';
import { commonShape } from '../options/schemas/common.js';
import { f16Limits, limits, verify, verifyPasses } from './verify.js';

export const verifyCommand = defineCommand({
  name: 'verify',
  summary: 'compares a checkpoint with what transformers computed from it',
  schema: z.object({
    dir: z
      .string()
      .describe('folder with config.json, model.safetensors, golden.json and golden.safetensors'),
    dump: z
      .string()
      .nullable()
      .default(null)
      .describe('also write what was computed to this safetensors file'),
    adapter: z
      .enum(adapterChoices)
      .optional()
      .describe('adapter to open; default $REALHF_ADAPTER, else the best there is'),
    matmul_precision: commonShape.matmul_precision.describe(
      'f16: products of f16 operands, where the adapter has matrix units; looser limits, for logits and loss alone',
    ),
  }),
  positional: ['dir'],
  flags: ['dump', 'adapter'],
  examples: ['real verify ./golden/llama', 'real verify ./golden/gpt2 --dump computed.safetensors'],
  async run({ dir, dump, adapter, matmul_precision: precision }, { stdout }) {
    const { ops } = await openOps(adapter ? { adapter } : {}, { matmul_precision: precision });
    const report = await verify(dir, ops, dump ?? undefined);
    ops.destroy();
    stdout.write(`${JSON.stringify(report)}\n`);
    if (!verifyPasses(report, precision)) {
      const most =
        precision === 'f16'
          ? `logits ${f16Limits.logits}, loss ${f16Limits.loss}`
          : `logits ${limits.logits}, loss ${limits.loss}, gradients ${limits.grad} relative`;
      throw new CheckpointError(`${dir} differs from the golden data beyond ${most}`);
    }
  },
});
