/** The pages of docs/algorithms show the graphs and options that the code has. */
import { readdirSync, readFileSync } from 'node:fs';

import { buildGraph, drawGraph } from '@realhf/dataflow';
import { describe, expect, it } from 'vitest';

import { commands } from '../commands.js';
import { splitArguments, parseOptions } from '../options/parse.js';
import { algorithmGraph } from '../plan/algorithm.js';
import { algorithmNames } from '../plan/options.js';

const dir = new URL('../../../../docs/algorithms/', import.meta.url);
const page = (name: string) => readFileSync(new URL(`${name}.md`, dir), 'utf8');

it('every algorithm has a page, every page an algorithm', () => {
  const pages = readdirSync(dir).filter((f) => f !== 'README.md');
  expect(pages.sort()).toEqual(algorithmNames.map((n) => `${n}.md`).sort());
});

describe.each(algorithmNames)('%s', (name) => {
  it('is drawn as the code has it', () => {
    const { mfcs, datasetKeys } = algorithmGraph(name, 256);
    const { mermaid } = drawGraph(buildGraph(mfcs, { datasetKeys }));
    const drawn = /```mermaid\n([^]*?)\n```/.exec(page(name))?.[1];
    expect(drawn, `real graph ${name} --format mermaid`).toBe(mermaid.trimEnd());
  });
  it('has an example of under 120 lines', () => {
    const file = new URL(`../../examples/algorithms/${name}.ts`, dir);
    expect(readFileSync(file, 'utf8').split('\n').length).toBeLessThan(120);
    expect(page(name)).toContain(`npm run example algorithms/${name}\n`);
  });
  it('has command lines that parse', () => {
    const command = commands.find((c) => c.name === name)!;
    const lines = [...page(name).matchAll(new RegExp(`^real ${name} ((?:.*\\\\\\n)*.*)$`, 'gm'))];
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines)
      parseOptions(command.schema, splitArguments(line[1]!.split(/[\s\\]+/)));
  });
});
