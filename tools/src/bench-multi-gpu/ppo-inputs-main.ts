/**
 * `ppo-inputs FOLDER SHAPE PROMPTS LENGTH`: a Hugging Face directory `lm` of a named shape with made-up f32 weights and a
 * tokenizer of letters, and `prompts.jsonl` of so many letters each.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { paramSpecs } from '@realhf/model';
import { writeCheckpointDir } from '@realhf/model/node';

import { letterTokenizer } from '../../../packages/cli/src/e2e/letter-tokenizer.js';
import { shapes } from '../bench-model/shapes.js';
import { wholeParam } from './rank.js';

const [folder = '', shape = '', prompts = '', length = ''] = process.argv.slice(2);
const config = shapes[shape]!;
const source = join(folder, 'tokenizer');
mkdirSync(source, { recursive: true });

const letters = Array.from('abcdefghijklmnopqrstuvwxyz');
const eos = '<|endoftext|>';
// Of llama's numbers: 0 is padding, 2 the end.
const tokenizer = letterTokenizer(letters, 3, ['<|pad|>', '<|begin|>', eos], 0);
writeFileSync(join(source, 'tokenizer.json'), JSON.stringify(tokenizer));
writeFileSync(
  join(source, 'tokenizer_config.json'),
  JSON.stringify({ eos_token: eos, pad_token: '<|pad|>' }),
);
const specs = new Map(paramSpecs(config).map((s) => [s.name, s]));
await writeCheckpointDir(join(folder, 'lm'), {
  config,
  getParam: (name) => Promise.resolve(wholeParam(config, specs.get(name)!)),
  companionsFrom: source,
  overwrite: true,
});
const text = (i: number) =>
  Array.from({ length: Number(length) }, (_, k) => letters[(i * 7 + k * k) % 26]).join('');
writeFileSync(
  join(folder, 'prompts.jsonl'),
  Array.from(
    { length: Number(prompts) },
    (_, i) => `${JSON.stringify({ id: `p${i}`, prompt: text(i) })}\n`,
  ).join(''),
);
