import { expect, test } from 'vitest';

import { onAdapters } from '../../testing/test-recorders.js';
import { attention } from '../attention/attention.js';
import { expectPaged } from './paged-attention-checks.js';
import { writePages } from './paged-attention.js';

onAdapters((r) => {
  test.each([
    { lengths: [1], window: undefined },
    { lengths: [7, 1, 19, 4], window: undefined },
    { lengths: [7, 1, 19, 4], window: 6 },
    { lengths: [90, 211, 13], window: undefined },
    { lengths: [90, 211, 13], window: 33 },
  ])('$lengths, window $window: bits of packed attention', async (c) => {
    await expectPaged(r(), c, attention);
  });

  test('what does not fit is refused', () => {
    const t = r().alloc([64, 4]);
    const rows = r().alloc([4], 'u32');
    const keys = { kPool: t, vPool: t, rows, rowStride: 2, rowOffset: 0 };
    const x = { tensor: t, offset: 0, stride: 4 };
    expect(() => {
      writePages(r(), { k: x, v: x, count: 1, keys: { ...keys, pageTable: t, pageSize: 12 } });
    }).toThrow('page size 12 is not a power of two');
    expect(() => {
      writePages(r(), { k: x, v: x, count: 9, keys: { ...keys, pageTable: t, pageSize: 4 } });
    }).toThrow(/rows has 4 elements/);
  });
});
