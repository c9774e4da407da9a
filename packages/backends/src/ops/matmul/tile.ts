/**
 * Matmul on software adapters: one register tile per invocation, bit-equal to the naive kernel. A kernel is put together
 * from whole WGSL files: how a, b and out are addressed (vec4 where their rows allow it), the loop of the layout, the tile.
 */
import type { MatmulArgs } from '@realhf/api';

import { defineKernel, grid1d, type Kernel } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import aScalar from './a-scalar.wgsl';
import aVec4 from './a-vec4.wgsl';
import bScalar from './b-scalar.wgsl';
import bVec4 from './b-vec4.wgsl';
import outScalar from './out-scalar.wgsl';
import outVec4 from './out-vec4.wgsl';
import type { MatmulProblem } from './problem.js';
import mainSource from './tile-main.wgsl';
import nnSource from './tile-nn.wgsl';
import ntSource from './tile-nt.wgsl';
import tnSource from './tile-tn.wgsl';
import tileSource from './tile.wgsl';

/** Rows by vec4 columns of an invocation's tile. */
export interface TileShape {
  readonly rows: 4 | 8;
  readonly cols: 2 | 4;
}

export const matmulParams = {
  m: 'u32',
  n: 'u32',
  k: 'u32',
  accumulate: 'u32',
  has_bias: 'u32',
} as const;
export type MatmulKernel = Kernel<typeof matmulParams>;

const workgroup = 16;
const constants = ({ rows, cols }: TileShape) => ({ WG: workgroup, ROWS: rows, COLS: cols });
const variants = [
  constants({ rows: 4, cols: 2 }),
  constants({ rows: 4, cols: 4 }),
  constants({ rows: 8, cols: 2 }),
  constants({ rows: 8, cols: 4 }),
];

/** One kernel for each way to address a, b and out: vec4 (bit set: 1 a, 2 b, 4 out) or scalar. */
export function addressings(
  name: string,
  bodies: readonly string[],
  variantList: Kernel['variants'],
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
      params: matmulParams,
      access: ['read_write', 'read', 'read', 'read'],
      variants: variantList,
    }),
  );
}

/** The addressing that the sizes allow: rows that are whole vec4s. */
export function addressingOf(p: MatmulProblem): number {
  const whole = (rowLength: number, bit: number) => (rowLength % 4 === 0 ? bit : 0);
  return whole(p.transA ? p.m : p.k, 1) | whole(p.transB ? p.k : p.n, 2) | whole(p.n, 4);
}

const tile = (name: string, source: string) =>
  addressings(`matmul_tile_${name}`, [tileSource, source, mainSource], variants);
const nt = tile('nt', ntSource);
const nn = tile('nn', nnSource);
const tn = tile('tn', tnSource);

/** All layouts but aᵀ·bᵀ, which nothing on the training path needs. */
export function tileMatmul(r: Recorder, args: MatmulArgs, p: MatmulProblem, s: TileShape): void {
  const kernels = p.transB ? nt : p.transA ? tn : nn;
  const tiles = Math.ceil(p.m / s.rows) * Math.ceil(p.n / (4 * s.cols));
  r.run(
    kernels[addressingOf(p)]!,
    constants(s),
    // Without a bias its binding holds b, unread.
    [args.out, args.a, args.b, args.bias ?? args.b],
    matmulFields(args, p),
    grid1d(Math.ceil(tiles / workgroup)),
  );
}

export function matmulFields(args: MatmulArgs, p: MatmulProblem) {
  const { m, n, k } = p;
  return { m, n, k, accumulate: args.accumulate ? 1 : 0, has_bias: args.bias ? 1 : 0 };
}
