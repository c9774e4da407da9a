/** The `real quickstart` command. */
import { z } from 'zod';

import { defineCommand } from '../options/command.js';
import { presetNames } from './preset.js';
import { quickstart } from './quickstart.js';

export const quickstartCommand = defineCommand({
  name: 'quickstart',
  summary: 'trains a small model by RLHF on real text, in minutes, and reports',
  schema: z.object({
    out: z
      .string()
      .min(1)
      .default('./real-quickstart')
      .describe(
        'folder for everything; an unfinished run there is resumed, a finished one refused',
      ),
    seed: z
      .number()
      .int()
      .nonnegative()
      .default(1)
      .describe('of initial weights, data order and sampling'),
    preset: z
      .enum(presetNames)
      .default('standard')
      .describe('tiny: a few steps of everything, too few to learn; for tests'),
  }),
  flags: ['out', 'seed', 'preset'],
  examples: ['real quickstart', 'real quickstart --out ./my-first-run --seed 2'],
  run: async (config, context) => {
    await quickstart(config, context);
  },
});
