/** `real eval` on tiny models of random weights, on SwiftShader. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { writeCheckpointDir } from '@realhf/model/node';
import { describe, expect, it } from 'vitest';

import { sftRecords, useFolder, vocabSize, writeLines, writeModelDir } from '../e2e/tiny.js';
import { loadModel } from '../experiments/load-model.js';
import { configOf, testContext, useDevice } from '../experiments/test-run.js';
import { frozenModelSchema } from '../options/schemas/model.js';
import { runEval } from './command.js';
import { winsOf } from './judge.js';
import { evalSchema } from './options.js';

const dir = useFolder();
const device = useDevice();
const config = writeModelDir(join(dir, 'config'));
const data = writeLines(join(dir, 'valid.jsonl'), sftRecords(8));

/** A saved model of random weights. */
async function saved(name: string, seed: number, isCritic = false): Promise<string> {
  const options = frozenModelSchema.parse({ init_from_scratch: true, config });
  const { model } = await loadModel(device().ops, { role: name, options, isCritic, seed });
  await writeCheckpointDir(join(dir, name), {
    config: model.config,
    getParam: (param) => model.dump(param),
    companionsFrom: config,
  });
  model.free();
  return join(dir, name);
}
const evaluate = async (...words: string[]) => {
  const context = testContext();
  const more = [`dataset.path=${data}`, 'gen.max_new_tokens=6', 'gen.min_new_tokens=1'];
  const result = await runEval(configOf(evalSchema, [...more, ...words]), context, device());
  return { result, text: context.printed() };
};

describe('real eval', () => {
  it('judges a model against itself (all ties) and another, and writes the answers', async () => {
    const [a, b, rw] = [await saved('a', 1), await saved('b', 2), await saved('rw', 3, true)];
    const same = await evaluate(`model=${a}`, `against=${a}`, `rew.path=${rw}`);
    expect(same.result).toMatchObject({
      ties: 8,
      wins: 0,
      winRate: { mean: 0.5, low: 0.5, high: 0.5 },
      gain: { mean: 0, low: 0, high: 0 },
      kl: { mean: 0 },
    });
    const out = join(dir, 'eval.json');
    const two = await evaluate(`model=${a}`, `against=${b}`, `rew.path=${rw}`, `out=${out}`);
    expect(two.text).toMatch(
      /win rate: \S+ {2}95 % interval \[.*\] {2}\(\d won, \d tied, \d lost\)/,
    );
    const written = JSON.parse(readFileSync(out, 'utf8')) as typeof two.result;
    expect(written).toEqual(two.result);
    expect(written).toMatchObject({ model: { answers: { length: 8 } } });
  });

  it('perplexity of weights that know nothing is about the vocabulary', async () => {
    const { result, text } = await evaluate(`model=${await saved('p', 1)}`);
    if (!('perplexity' in result)) throw new Error(text);
    const { mean, low, high } = result.perplexity;
    expect(mean).toBeGreaterThan(vocabSize / 2);
    expect(mean).toBeLessThan(vocabSize * 2);
    expect(low).toBeLessThan(mean);
    expect(high).toBeGreaterThan(mean);
  });

  it('counts ties as half a win', () => {
    expect(winsOf([1, 2, 3], [1.05, 1, 4], 0.1)).toEqual([0.5, 1, 0]);
  });
});
