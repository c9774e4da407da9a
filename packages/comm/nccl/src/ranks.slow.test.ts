/** The communicator between processes, on lavapipe's memory and the doubles of CUDA and NCCL. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { buildDoubles, bundle, canRun, runRanks, type Doubles } from './testing/doubles.js';

describe.runIf(canRun())('ranks as processes', () => {
  let doubles: Doubles;
  let program: string;
  beforeAll(async () => {
    doubles = buildDoubles();
    program = await bundle('rank-main', doubles.folder);
  });
  afterAll(() => {
    doubles.close();
  });
  const run = (size: number, env: Record<string, string>) =>
    runRanks(program, size, { ...doubles.env, ...env }, doubles.folder);

  test('two on shared buffers: every collective, fences, groups', async () => {
    for (const { out } of await run(2, { GROUPS: '1' })) expect(out).toMatch(/^ok shared\n$/);
  });
  test('three through the host, in windows, with a warning of what it costs', async () => {
    const env = { MEMORY: 'auto', UNLABELLED: '1', LENGTHS: '1,31,70001', GROUPS: '1' };
    for (const { out } of await run(3, env))
      expect(out).toMatch(
        /^ok staged NCCL works on copies .* at [\d.]+ GB\/s each way.*toggle\?\n$/,
      );
  });
  test('a rank that dies is named, and later calls fail alike', async () => {
    const [first, second] = await run(3, { SCENARIO: 'dies' });
    for (const { out } of [first!, second!])
      expect(out).toMatch(
        /^CommError: allReduce on rank [01] of 3 .*remote process exited.*; rank 2 is gone(, rank [01] gave up in allReduce)?\n$/,
      );
  });
  test('a rank that does not come: time-out, abort, and who gave up in what', async () => {
    const [first, second] = await run(2, { SCENARIO: 'late', TIMEOUT: '400' });
    expect(first!.out).toMatch(
      /^CommError: allReduce on rank 0 of 2 .*took longer than 400 ms; .*\b1\b/,
    );
    expect(second!.out).toMatch(/^ok shared/);
  });
});
