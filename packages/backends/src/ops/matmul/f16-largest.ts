/** The largest magnitude of a gradient, by which it is scaled into the range of f16. */
import type { Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { fill } from '../elementwise/elementwise.js';
import largestSource from './f16-largest.wgsl';

const kernel = defineKernel({
  name: 'matmul_f16_largest',
  source: largestSource,
  entry: 'largest_magnitude',
  params: { size: 'u32', each: 'u32' },
  access: ['read_write', 'read'],
  variants: [{ WG: 256 }],
});

/** The bits of the largest magnitude of x, u32 [1]; kept with x until that changes, so the caller must not free it. */
export function largestOf(r: Recorder, x: Tensor): Tensor {
  return r.operands.get(x, 'largest', (stale) => {
    const largest = stale ?? r.alloc([1], 'u32');
    fill(r, largest, 0);
    const each = Math.max(4, Math.ceil(x.size / 256 / 1024));
    const groups = Math.ceil(x.size / 256 / each);
    r.run(kernel, { WG: 256 }, [largest, x], { size: x.size, each }, grid1d(groups));
    return largest;
  });
}
