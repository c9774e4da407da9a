/** GRPO and DPO, evaluation by several models among it, on two workers as in one process; the others: algorithms-workers.full.test.ts. */
import { beforeAll, expect, it } from 'vitest';

import { algorithmRuns, writeAlgorithmInputs } from './algorithm-runs.js';
import { useReal } from './real-process.js';
import { expectSameNumbers, layoutWords, numbersOf, runToEnd } from './runtime-suite.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
beforeAll(() => {
  writeAlgorithmInputs(cwd);
});

it.each([
  ['grpo', 'd2m1p1', '2 eval actor@0/reward'],
  ['dpo', 'd1m2p1', '2 eval actor@0/margin'],
])('%s on %s computes what one process computes', async (name, layout, evaluated) => {
  const { words } = algorithmRuns.find((a) => a.words[0] === name)!;
  const one = await runToEnd(start, cwd, words, 'one');
  expect(numbersOf(one)).toHaveProperty([evaluated]);
  expectSameNumbers(
    one,
    await runToEnd(start, cwd, [...words, ...layoutWords(layout)], 'two'),
    1e-4,
  );
});
