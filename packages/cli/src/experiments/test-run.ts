/** Runs of commands in the test's own process, on one SwiftShader device that the tests of a file share. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll } from 'vitest';
import { z } from 'zod';

import type { RunContext } from '../options/command.js';
import { parseOptions, splitArguments } from '../options/parse.js';
import { openOps, type OpenedOps } from './open-ops.js';

/** Opened before the tests of the enclosing suite, destroyed after them. */
export function useDevice(): () => OpenedOps {
  let opened: OpenedOps | undefined;
  beforeAll(async () => {
    opened = await openOps({ adapter: 'swiftshader' });
  });
  afterAll(() => {
    opened?.ops.destroy();
  });
  return () => opened!;
}

/** A context that collects what is printed; `onWrite` sees each piece. */
export function testContext(
  signal: AbortSignal = new AbortController().signal,
  onWrite: (text: string) => void = () => undefined,
): RunContext & { readonly printed: () => string } {
  let text = '';
  const output = {
    write: (part: string) => {
      text += part;
      onWrite(part);
    },
  };
  return {
    stdout: output,
    stderr: output,
    env: {},
    signal,
    given: new Set(),
    printed: () => text,
  };
}

/** The config of words as on the command line; of words with one name the last one counts. */
export function configOf<S extends z.ZodType>(schema: S, words: readonly string[]): z.output<S> {
  const last = new Map(words.map((w) => [w.split('=')[0], w]));
  return parseOptions(schema, splitArguments([...last.values()])).config;
}

const record = z.object({
  step: z.number(),
  stats: z.record(z.string(), z.record(z.string(), z.number())),
});
/** Stats of one MFC by step, from metrics.jsonl of a run. */
export function metricsOf(run: string, mfc: string): Record<string, number>[] {
  return readFileSync(join(run, 'metrics.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => record.parse(JSON.parse(line)).stats[mfc] ?? {});
}
