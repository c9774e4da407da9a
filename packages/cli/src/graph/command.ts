/** `real graph ALGO`: the dataflow graph of an algorithm as text, Mermaid or SVG. */
import { writeFileSync } from 'node:fs';

import { ConfigError } from '@realhf/api';
import { buildGraph, drawGraph, graphSvg } from '@realhf/dataflow';
import { z } from 'zod';

import { defineCommand } from '../options/command.js';
import { algorithmGraph } from '../plan/algorithm.js';
import { algorithmNames } from '../plan/options.js';

export const graphCommand = defineCommand({
  name: 'graph',
  summary: 'draws the dataflow graph of an algorithm',
  positional: ['algorithm'],
  flags: ['format', 'output'],
  schema: z.object({
    algorithm: z.enum(algorithmNames).describe('whose graph'),
    format: z
      .enum(['text', 'mermaid', 'svg'])
      .default('text')
      .describe('text for terminals, mermaid for pages, svg for pictures'),
    output: z
      .string()
      .min(1)
      .nullable()
      .default(null)
      .describe('file to write; null: standard output'),
    n_seqs: z.number().int().positive().default(256).describe('items of a step'),
  }),
  examples: ['real graph ppo', 'real graph grpo --format svg --output grpo.svg'],
  run({ algorithm, format, output, n_seqs: nSeqs }, { stdout }) {
    const { mfcs, datasetKeys } = algorithmGraph(algorithm, nSeqs);
    const graph = buildGraph(mfcs, { datasetKeys });
    const drawing = format === 'svg' ? graphSvg(graph) : `${drawGraph(graph)[format]}\n`;
    if (output === null) stdout.write(drawing);
    else {
      try {
        writeFileSync(output, drawing);
      } catch (cause) {
        throw new ConfigError(`can't write output '${output}': ${(cause as Error).message}`, {
          cause,
        });
      }
    }
    return Promise.resolve();
  },
});
