/** How the fast matmul kernels address a, b and out: by vec4 where all rows are whole vec4s, else by element. */
import type { MatmulArgs } from '@realhf/api';

import { defineKernel, type Kernel } from '../../webgpu/kernel.js';
import aScalar from './a-scalar.wgsl';
import aVec4 from './a-vec4.wgsl';
import bScalar from './b-scalar.wgsl';
import bVec4 from './b-vec4.wgsl';
import outScalar from './out-scalar.wgsl';
import outVec4 from './out-vec4.wgsl';
import type { MatmulProblem } from './problem.js';

const params = {
  m: 'u32',
  n: 'u32',
  k: 'u32',
  chunk: 'u32',
  accumulate: 'u32',
  has_bias: 'u32',
} as const;
export type MatmulKernel = Kernel<typeof params>;

/** One kernel for each way to address: bit 1 for vec4 in a, 2 in b, 4 in out. `bodies` are whole WGSL files. */
export function addressings(
  name: string,
  bodies: readonly string[],
  variants: Kernel['variants'],
): readonly MatmulKernel[] {
  return Array.from({ length: 8 }, (_, bits) =>
    defineKernel({
      name: `${name}_${bits}`,
      source: [
        bits & 1 ? aVec4 : aScalar,
        bits & 2 ? bVec4 : bScalar,
        bits & 4 ? outVec4 : outScalar,
        ...bodies,
      ].join('\n'),
      entry: 'main',
      params,
      access: ['read_write', 'read', 'read', 'read'],
      variants,
    }),
  );
}

/** The addressing that the sizes allow. */
export function addressingOf(p: MatmulProblem): number {
  const whole = (rowLength: number, bit: number) => (rowLength % 4 === 0 ? bit : 0);
  return whole(p.transA ? p.m : p.k, 1) | whole(p.transB ? p.k : p.n, 2) | whole(p.n, 4);
}

/** `chunk`: k per grid layer (GPU kernel). */
export function matmulFields(args: MatmulArgs, p: MatmulProblem, chunk = p.k) {
  const { m, n, k } = p;
  return { m, n, k, chunk, accumulate: args.accumulate ? 1 : 0, has_bias: args.bias ? 1 : 0 };
}
