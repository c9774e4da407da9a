/** An adapter trained by two worker processes that cut the model: the numbers of one process, and a whole model saved. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { useReal } from './real-process.js';
import {
  expectSameStats,
  layoutWords,
  runToEnd,
  sftOn,
  writeRuntimeInputs,
} from './runtime-suite.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();

it('two tensor-parallel workers train the adapter that one process trains', async () => {
  writeRuntimeInputs(cwd);
  const words = [...sftOn('one'), 'model.lora.rank=4', 'exp_ctrl.benchmark_steps=2'];
  const one = await runToEnd(start, cwd, words, 'one');
  const two = await runToEnd(start, cwd, [...words, ...layoutWords('d1m2p1')], 'two');
  expectSameStats(one, two, 'trainDefault');
  expect(existsSync(join(two, 'checkpoints'))).toBe(true);
});
