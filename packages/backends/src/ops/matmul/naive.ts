/** One element per invocation: slow, any layout; the baseline that faster kernels are timed and bit-compared against. */
import type { MatmulArgs } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './naive.wgsl';
import { matmulProblem } from './problem.js';

const wg = { WG: 64 };
const params = {
  m: 'u32',
  n: 'u32',
  k: 'u32',
  a_row: 'u32',
  a_col: 'u32',
  b_row: 'u32',
  b_col: 'u32',
  accumulate: 'u32',
} as const;
const plain = defineKernel({
  name: 'matmul_naive',
  source,
  entry: 'plain',
  params,
  access: ['read_write', 'read', 'read'],
  variants: [wg],
});
const withBias = defineKernel({
  name: 'matmul_naive_bias',
  source,
  entry: 'with_bias',
  params,
  access: ['read_write', 'read', 'read', 'read'],
  variants: [wg],
});

export function naiveMatmul(r: Recorder, args: MatmulArgs): void {
  const p = matmulProblem(args);
  if (p.m * p.n === 0) return;
  const { a, b, out, bias } = args;
  r.run(
    bias ? withBias : plain,
    wg,
    bias ? [out, a, b, bias] : [out, a, b],
    {
      m: p.m,
      n: p.n,
      k: p.k,
      a_row: p.aRow,
      a_col: p.aCol,
      b_row: p.bRow,
      b_col: p.bCol,
      accumulate: args.accumulate ? 1 : 0,
    },
    grid1d(Math.ceil((p.m * p.n) / wg.WG)),
  );
}
