/** The README's command lines parse. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parseOptions, splitArguments } from './parse.js';
import { dpoSchema } from './schemas/dpo.js';
import { genSchema } from './schemas/gen.js';
import { grpoSchema } from './schemas/grpo.js';
import { ppoSchema } from './schemas/ppo.js';
import { rwSchema } from './schemas/rw.js';
import { sftSchema } from './schemas/sft.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

it.each([
  ['sft', sftSchema],
  ['rw', rwSchema],
  ['ppo', ppoSchema],
  ['dpo', dpoSchema],
  ['grpo', grpoSchema],
  ['gen', genSchema],
])('real %s of the README', (name, schema) => {
  const line = new RegExp(`^real ${name} ((?:.*\\\\\\n)+.*)$`, 'm').exec(readme)?.[1];
  const words = line!.split(/[\s\\]+/);
  expect(words.length).toBeGreaterThan(4);
  expect(parseOptions(schema, splitArguments(words)).config.experiment_name).toBe('demo');
});
