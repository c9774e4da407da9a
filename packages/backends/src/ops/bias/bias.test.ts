import { expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { columnSumsReference } from '../matmul/matmul.reference.js';
import { biasBackward } from './bias.js';

onAdapters((r) => {
  test.each([
    [1, 1],
    [31, 7],
    [33, 130],
    [1000, 3],
  ])('column sums of [%i, %i] are added', async (m, n) => {
    const rand = random(m);
    const [d, start] = [normal(m * n, rand), normal(n, rand)];
    const dOut = upload(r(), d, [m, n]);
    const run = () => {
      const dBias = upload(r(), start);
      biasBackward(r(), dOut, dBias);
      return download(r(), dBias);
    };
    const got = await run();
    expectClose(got, columnSumsReference(d, Float64Array.from(start)), 1e-5, 1e-5 * Math.sqrt(m));
    expect(await run()).toEqual(got);
  });

  test('another width is refused', () => {
    expect(() => {
      biasBackward(r(), poisoned(r(), [4, 3]), poisoned(r(), [4]));
    }).toThrow(/last dimension/);
  });
});
