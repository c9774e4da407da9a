/** Every algorithm on worker processes computes what one process computes: `npm run test:full -- --project full algorithms-workers`. */
import { beforeAll, describe, it } from 'vitest';

import { algorithmRuns, writeAlgorithmInputs } from './algorithm-runs.js';
import { useReal } from './real-process.js';
import { expectSameNumbers, layoutWords, runToEnd } from './runtime-suite.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
beforeAll(() => {
  writeAlgorithmInputs(cwd);
});

describe.each(algorithmRuns)('$words.0', ({ words, layouts }) => {
  let one = '';
  beforeAll(async () => {
    one = await runToEnd(start, cwd, words, 'one');
  }, 600_000);

  it.each(layouts)('$name', async ({ name, options = layoutWords(name) }) => {
    const trial = name.replace(' ', '-');
    expectSameNumbers(one, await runToEnd(start, cwd, [...words, ...options], trial), 1e-4);
  });
});
