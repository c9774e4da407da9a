import { expect, test } from 'vitest';

import { openNullGpu } from '../node/open-gpu.js';
import { add, fill } from '../ops/elementwise/elementwise.js';
import { Recorder } from './recorder.js';

test('a copy lives until its tensor is written, by a kernel or from the host, or freed', async () => {
  const { device } = await openNullGpu();
  const r = new Recorder({ device, adapter: 'null', isCpu: false });
  const [x, y, z] = [r.alloc([4, 4]), r.alloc([4, 4]), r.alloc([4, 4])];
  let made = 0;
  const copy = () =>
    r.operands.get(x, 'form', (stale) => {
      made++;
      return stale ?? r.alloc([8], 'f16');
    });
  const first = copy();
  expect(copy()).toBe(first);
  expect(made).toBe(1);
  add(r, x, y, z);
  expect(r.operands.peek(x, 'form')).toBe(first);
  fill(r, x, 1);
  expect(r.operands.peek(x, 'form')).toBeUndefined();
  expect(copy()).toBe(first);
  r.write(x, new Float32Array(16));
  expect(copy()).toBe(first);
  expect(made).toBe(3);
  // Another shape or place of the same buffer is another copy.
  expect(r.operands.peek(r.view(x, 0, [2, 8]), 'form')).toBeUndefined();
  const { live } = r.pool;
  r.free(x);
  expect(r.pool.live).toBe(live - 2 * 256);
  // The buffer's next owner has none.
  const next = r.alloc([4, 4]);
  expect(r.operands.peek(next, 'form')).toBeUndefined();
  r.destroy();
});
