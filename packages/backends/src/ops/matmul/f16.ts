/**
 * Matmul on GPUs with f16 matrices: operands rounded to f16, sums in f32. Where the operands are large they are packed
 * into f16 tiles first (halving what the product reads), else rounded on the way; the bits are the same. Forward (a·bᵀ):
 * finite values saturate at ±65504, and a row does not depend on the others. In the other layouts `a` is a gradient: it
 * is scaled by the power of two that brings its largest magnitude to 2^14 … 2^15, so that loss scaling is not needed;
 * what is smaller than that by 2^29 loses bits, by 2^39 vanishes.
 */
import type { MatmulArgs, Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { reduceColumns } from '../bias/bias.js';
import { fill } from '../elementwise/elementwise.js';
import aScalar from './a-scalar.wgsl';
import aVec4 from './a-vec4.wgsl';
import { addressingOf } from './addressing.js';
import bScalar from './b-scalar.wgsl';
import bVec4 from './b-vec4.wgsl';
import convertSource from './f16-convert.wgsl';
import largestSource from './f16-largest.wgsl';
import packScalar from './f16-pack-scalar.wgsl';
import packVec4 from './f16-pack-vec4.wgsl';
import packSource from './f16-pack.wgsl';
import packedSource from './f16-packed.wgsl';
import stagedSource from './f16-staged.wgsl';
import emulatedSource from './f16-emulated.wgsl';
import matricesSource from './f16-matrices.wgsl';
import tileSource from './f16.wgsl';
import outScalar from './out-scalar.wgsl';
import outVec4 from './out-vec4.wgsl';
import type { MatmulProblem } from './problem.js';

/** Subgroups along m and n, and 16×16 matrices of each. */
export interface F16Tile {
  readonly subsM: number;
  readonly subsN: number;
  readonly tm: 1 | 2 | 4;
  readonly tn: 1 | 2;
}

/** 128×128, 64×64, 64×32, 16×64. */
export const f16Tiles: readonly F16Tile[] = [
  { subsM: 2, subsN: 4, tm: 4, tn: 2 },
  { subsM: 2, subsN: 2, tm: 2, tn: 2 },
  { subsM: 2, subsN: 2, tm: 2, tn: 1 },
  { subsM: 1, subsN: 4, tm: 1, tn: 1 },
];
/** What packed matrices are padded to along m and n: every tile divides it. */
const padded = 128;
const blockK = 64;
/** Workgroups that fill the card (an H100 has 132 multiprocessors). */
const enough = 128;

const params = {
  m: 'u32',
  n: 'u32',
  k: 'u32',
  a_ld: 'u32',
  b_ld: 'u32',
  chunk: 'u32',
  accumulate: 'u32',
  has_bias: 'u32',
} as const;
const constants = (tile: F16Tile, transA: boolean, transB: boolean) => ({
  SUBS_M: tile.subsM,
  SUBS_N: tile.subsN,
  TM: tile.tm,
  TN: tile.tn,
  BK: blockK,
  TRANS_A: transA ? 1 : 0,
  TRANS_B: transB ? 1 : 0,
  SCALED: transB ? 0 : 1,
});
const variants = f16Tiles.flatMap((tile) =>
  [0, 1, 2, 3].map((bits) => constants(tile, (bits & 1) !== 0, (bits & 2) !== 0)),
);
/** By addressingOf the staged kernels, by its bit 4 the packed ones. */
function products(name: string, matrices: string, enables: readonly string[]) {
  const product = (kind: string, sources: readonly string[]) =>
    defineKernel({
      name: `${name}_${kind}`,
      source: [...sources, convertSource, tileSource, matrices].join('\n'),
      entry: 'main',
      params,
      access: ['read_write', 'read', 'read', 'read', 'read'],
      variants,
      enables,
    });
  return {
    packed: [outScalar, outVec4].map((out, i) => product(`packed_${i}`, [out, packedSource])),
    staged: Array.from({ length: 8 }, (_, bits) =>
      product(`staged_${bits}`, [
        bits & 1 ? aVec4 : aScalar,
        bits & 2 ? bVec4 : bScalar,
        bits & 4 ? outVec4 : outScalar,
        stagedSource,
      ]),
    ),
  };
}
const kernels = products('matmul_f16', matricesSource, [
  'f16',
  'subgroups',
  'chromium_experimental_subgroup_matrix',
]);
/** For tests on adapters with f16 alone. */
const emulatedKernels = products('matmul_f16_emulated', emulatedSource, ['f16']);

const packKernels = [packScalar, packVec4].map((load, i) =>
  defineKernel({
    name: `matmul_f16_pack_${i}`,
    source: [load, convertSource, packSource].join('\n'),
    entry: 'pack',
    params: { rows: 'u32', cols: 'u32', dst_rows: 'u32', dst_cols: 'u32' },
    access: ['read_write', 'read', 'read'],
    variants: [
      { WG: 256, SCALED: 0 },
      { WG: 256, SCALED: 1 },
    ],
    enables: ['f16'],
  }),
);
const largestKernel = defineKernel({
  name: 'matmul_f16_largest',
  source: largestSource,
  entry: 'largest_magnitude',
  params: { size: 'u32', each: 'u32' },
  access: ['read_write', 'read'],
  variants: [{ WG: 256 }],
});

const tilesOf = (p: MatmulProblem, { subsM, subsN, tm, tn }: F16Tile): [number, number] => [
  Math.ceil(p.n / (16 * subsN * tn)),
  Math.ceil(p.m / (16 * subsM * tm)),
];

/** How one product is computed; all choices give the same bits, but for the splits, which depend on the sizes alone. */
export interface F16Plan {
  readonly tile: F16Tile;
  readonly packed: boolean;
  /** Matrices made of scalars. */
  readonly emulated?: boolean;
}

export function f16PlanFor(p: MatmulProblem): F16Plan {
  const fits = (t: F16Tile) =>
    16 * t.subsM * t.tm < 2 * p.m && tilesOf(p, t)[0] * tilesOf(p, t)[1] >= enough;
  const tile = p.transA ? f16Tiles[0]! : (f16Tiles.find(fits) ?? f16Tiles.at(-1)!);
  return { tile, packed: p.m >= 512 && p.n >= 512 && p.k >= 256 };
}

/** Runs of k for a weight gradient: as many as fill the card, of at least 512 each. */
function splitsOf(args: MatmulArgs, p: MatmulProblem): number {
  if (!p.transA || p.transB || !args.accumulate || args.bias) return 1;
  const [x, y] = tilesOf(p, f16Tiles[0]!);
  return Math.max(1, Math.min(Math.ceil(enough / (x * y)), Math.floor(p.k / 512), 64));
}

export function f16Matmul(
  r: Recorder,
  args: MatmulArgs,
  p: MatmulProblem,
  plan = f16PlanFor(p),
): void {
  const scaled = !p.transB;
  const largest = scaled ? largestOf(r, args.a) : args.b;
  const [a, b] = plan.packed
    ? [
        pack(
          r,
          args.a,
          p.transA ? [blockK, padded] : [padded, blockK],
          scaled ? largest : undefined,
        ),
        pack(r, args.b, p.transB ? [padded, blockK] : [blockK, padded], undefined),
      ]
    : [args.a, args.b];
  const splits = splitsOf(args, p);
  const chunk = Math.ceil(Math.ceil(p.k / splits) / blockK) * blockK;
  const parts = Math.ceil(p.k / chunk);
  const out = parts === 1 ? args.out : r.alloc([parts, p.m, p.n]);
  const [x, y] = tilesOf(p, plan.tile);
  const addressing = addressingOf(p);
  const { packed, staged } = plan.emulated ? emulatedKernels : kernels;
  r.run(
    plan.packed ? packed[addressing >> 2]! : staged[addressing]!,
    constants(plan.tile, p.transA, p.transB),
    // Without a bias its binding holds another operand, unread.
    [out, a, b, args.bias ?? b, largest],
    {
      m: p.m,
      n: p.n,
      k: p.k,
      a_ld: a.shape[1]!,
      b_ld: b.shape[1]!,
      chunk,
      accumulate: args.accumulate && parts === 1 ? 1 : 0,
      has_bias: args.bias ? 1 : 0,
    },
    [x, y, parts],
  );
  if (parts > 1) {
    reduceColumns(r, out, 0, parts, args.out);
    r.free(out);
  }
  if (plan.packed) {
    r.free(a);
    r.free(b);
  }
  if (scaled) r.free(largest);
}

/** The bits of the largest magnitude of x: u32 [1]. */
function largestOf(r: Recorder, x: Tensor): Tensor {
  const largest = r.alloc([1], 'u32');
  fill(r, largest, 0);
  const each = Math.max(4, Math.ceil(x.size / 256 / 1024));
  const groups = Math.ceil(x.size / 256 / each);
  r.run(largestKernel, { WG: 256 }, [largest, x], { size: x.size, each }, grid1d(groups));
  return largest;
}

/** x [rows, cols] in f16, zeros added up to multiples of `whole`. */
function pack(
  r: Recorder,
  x: Tensor,
  whole: readonly [number, number],
  largest: Tensor | undefined,
): Tensor {
  const [rows = 0, cols = 0] = x.shape;
  const [dst_rows, dst_cols] = [
    Math.ceil(rows / whole[0]) * whole[0],
    Math.ceil(cols / whole[1]) * whole[1],
  ];
  const dst = r.alloc([dst_rows, dst_cols], 'f16');
  r.run(
    packKernels[cols % 4 === 0 ? 1 : 0]!,
    { WG: 256, SCALED: largest ? 1 : 0 },
    [dst, x, largest ?? x],
    { rows, cols, dst_rows, dst_cols },
    grid1d(Math.ceil((dst_rows * dst_cols) / 8 / 256)),
  );
  return dst;
}
