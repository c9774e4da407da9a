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

  test.each([
    [
      'ncclAllReduce:3:1',
      /^CommError: allReduce on rank 0 of 1 .*ncclAllReduce failed: internal error \(3\): ncclAllReduce fails as the double was told/,
    ],
    [
      'ncclCommInitRankConfig:5',
      /^CommError: joining on rank 0 .*ncclCommInitRankConfig failed: .*\(5\)/,
    ],
    [
      'cuStreamQuery:700:3',
      /^CommError: .* on rank 0 .*cuStreamQuery failed: CUDA_ERROR_UNKNOWN \(700\)/,
    ],
    ['cuInit:100', /^DeviceError: cuInit failed: .*\(100\)/],
    [
      'cuImportExternalMemory:1',
      /^DeviceError: cuImportExternalMemory failed: CUDA_ERROR_INVALID_VALUE \(1\)/,
    ],
    ['cuExternalMemoryGetMappedBuffer:1', /^DeviceError: cuExternalMemoryGetMappedBuffer failed/],
    ['cuMemAllocHost_v2:2', /^DeviceError: cuMemAllocHost_v2 failed: CUDA_ERROR_OUT_OF_MEMORY/],
  ])('a wrong return code: %s', async (fail, message) => {
    const [only] = await run(1, { REALHF_DOUBLE_FAIL: fail });
    expect(only!.out).toMatch(message);
  });
  test('memory that can not be imported is staged where that is allowed', async () => {
    const [only] = await run(1, { REALHF_DOUBLE_FAIL: 'cuImportExternalMemory:1', MEMORY: 'auto' });
    expect(only!.out).toMatch(/^ok staged NCCL works on copies .*: cuImportExternalMemory failed/);
  });
  test.each([
    [
      'REALHF_NCCL',
      '/nowhere/libnccl.so',
      /libnccl was not found; looked for \/nowhere\/libnccl.so \(/,
    ],
    [
      'REALHF_CUDA',
      '/nowhere/libcuda.so',
      /libcuda was not found; looked for \/nowhere\/libcuda.so \(/,
    ],
    ['REALHF_NCCL', 'old', /too old: it has no ncclGroupStart, ncclGroupEnd/],
    ['REALHF_DOUBLE_NCCL', '21405', /is NCCL 2.14.5; 2.18.0 or newer is needed/],
    ['REALHF_DOUBLE_CUDA', '10020', /is of CUDA 10.2; 11.4 or newer is needed/],
  ])('a missing or old library: %s=%s', async (name, value, message) => {
    const [only] = await run(1, { [name]: value === 'old' ? doubles.oldNccl : value });
    expect(only!.out).toMatch(message);
  });
});
