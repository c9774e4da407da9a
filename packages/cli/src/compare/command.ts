/** The `real compare` command. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { ConfigError } from '@realhf/api';
import { z } from 'zod';

import { defineCommand } from '../options/command.js';
import { compareRuns, comparisonText } from './comparison.js';
import { comparisonHtml } from './compare-html.js';
import { readRun } from './read-run.js';

export const compareCommand = defineCommand({
  name: 'compare',
  summary: 'metrics, speed and options of runs side by side, and their curves as a page',
  schema: z.object({
    runs: z
      .array(z.string().min(1))
      .describe(
        'directories of runs, or EXPERIMENT/TRIAL below fileroot; they may go on meanwhile',
      ),
    out: z.string().min(1).default('compare.html').describe('the page with the curves'),
    fileroot: z.string().min(1).default('real-runs').describe('directory of all runs'),
  }),
  positional: ['runs...'],
  flags: ['out', 'fileroot'],
  examples: [
    'real compare real-runs/my-ppo/a real-runs/my-ppo/b',
    'real compare my-ppo/a my-grpo --out page.html',
  ],
  run: (config, context) => {
    if (config.runs.length < 2)
      throw new ConfigError(
        `real compare got ${config.runs.length} run; name two or more: real compare RUN_A RUN_B`,
      );
    const runs = config.runs.map((r) => readRun(r, config.fileroot));
    const comparison = compareRuns(runs);
    context.stdout.write(comparisonText(runs, comparison));
    const out = resolve(config.out);
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, comparisonHtml(runs, comparison));
    context.stdout.write(`curves: ${out}\n`);
    return Promise.resolve();
  },
});
