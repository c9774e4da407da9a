/**
 * Matmul on GPUs with f16 matrices: operands rounded to f16, sums in f32. Both are brought into panels of f16 first
 * (f16-pack.ts); those of weights are kept until the weight changes. All tiles give the same bits. Forward (a·bᵀ): finite
 * values saturate at ±65504, and a row does not depend on the others. In the other layouts `a` is a gradient: it is
 * scaled by the power of two that brings its largest magnitude to 2^14 … 2^15, so that loss scaling is not needed; what
 * is smaller than that by 2^29 loses bits, by 2^39 vanishes.
 */
import type { MatmulArgs, Tensor } from '@realhf/api';

import { defineKernel } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { reduceColumns } from '../bias/bias.js';
import convertSource from './f16-convert.wgsl';
import edgeSource from './f16-edge.wgsl';
import emulatedEdge from './f16-emulated-edge.wgsl';
import emulatedWhole from './f16-emulated-whole.wgsl';
import emulatedSource from './f16-emulated.wgsl';
import matricesEdge from './f16-matrices-edge.wgsl';
import matricesWhole from './f16-matrices-whole.wgsl';
import matricesSource from './f16-matrices.wgsl';
import outVec4 from './f16-out-vec4.wgsl';
import outAny from './f16-out.wgsl';
import {
  gradientPanels,
  inputPanels,
  keptPanelsOf,
  lastGradientPanels,
  lastInputPanels,
  padded,
  type Panels,
} from './f16-pack.js';
import { largestOf } from './f16-largest.js';
import wholeSource from './f16-whole.wgsl';
import tileSource from './f16.wgsl';
import type { MatmulProblem } from './problem.js';

/** Subgroups along m and n, 16×16 matrices of each, k at a time. */
export interface F16Tile {
  readonly subsM: 1 | 2 | 4;
  readonly subsN: 1 | 2 | 4;
  readonly tm: 1 | 2 | 4;
  readonly tn: 1 | 2 | 4;
  readonly bk: 32 | 64 | 128;
}

const large: F16Tile = { subsM: 2, subsN: 2, tm: 4, tn: 4, bk: 32 };
/** Of a decode step, by timing: many columns, and few. */
const wide: F16Tile = { subsM: 1, subsN: 4, tm: 4, tn: 1, bk: 64 };
const narrow: F16Tile = { subsM: 4, subsN: 2, tm: 1, tn: 1, bk: 128 };
const middle: F16Tile = { subsM: 2, subsN: 2, tm: 2, tn: 2, bk: 64 };
const flat: F16Tile = { subsM: 1, subsN: 4, tm: 1, tn: 1, bk: 64 };
const tiny: F16Tile = { subsM: 1, subsN: 1, tm: 1, tn: 1, bk: 64 };
/** 128×128, 64×64 (two forms), 64×32, 16×64, 16×16. */
export const f16Tiles: readonly F16Tile[] = [large, middle, wide, narrow, flat, tiny];
/** Workgroups that fill the card (an H100 has 132 multiprocessors). */
const enough = 128;

const params = {
  m: 'u32',
  n: 'u32',
  k_padded: 'u32',
  chunk: 'u32',
  first_x: 'u32',
  first_y: 'u32',
  start: 'u32',
  has_bias: 'u32',
  stride_a: 'u32',
  stride_b: 'u32',
} as const;
/** Which operands k runs over the panels of, and with them the layout; products without transB are of gradients: scaled. */
interface Layout {
  readonly transA: boolean;
  readonly transB: boolean;
}
const layouts: readonly Layout[] = [false, true].flatMap((transA) =>
  [false, true].map((transB) => ({ transA, transB })),
);
const constants = (
  { subsM, subsN, tm, tn, bk }: F16Tile,
  { transA, transB }: Layout,
  strides: readonly [number, number] = [0, 0],
) => ({
  SUBS_M: subsM,
  SUBS_N: subsN,
  TM: tm,
  TN: tn,
  BK: bk,
  SCALED: transB ? 0 : 1,
  A_INNER: transA ? 1 : 0,
  B_INNER: transB ? 0 : 1,
  STRIDE_A: strides[0],
  STRIDE_B: strides[1],
});
/** The same objects every time: the recorder then finds the pipeline without comparing them. */
const kept = new Map<F16Tile, Map<number, ReturnType<typeof constants>>>();
/** Strides are constants in large tiles of large models, where that is a twentieth to a tenth of the time. */
function constantsOf(tile: F16Tile, layout: Layout, strideA: number, strideB: number) {
  const fixed = tile === large && strideA >= 2048 && strideB >= 2048;
  const trans = (layout.transA ? 1 : 0) + (layout.transB ? 2 : 0);
  // Strides are multiples of 256.
  const key = trans + (fixed ? strideA * 2 ** 24 + (strideB / 256) * 4 : 0);
  let ofTile = kept.get(tile);
  if (!ofTile) kept.set(tile, (ofTile = new Map<number, ReturnType<typeof constants>>()));
  let c = ofTile.get(key);
  if (!c) ofTile.set(key, (c = constants(tile, layout, fixed ? [strideA, strideB] : undefined)));
  return c;
}
const variants = [
  ...f16Tiles.flatMap((tile) => layouts.map((l) => constants(tile, l))),
  ...layouts.map((l) => constants(large, l, [4096, 4096])),
];
/** `whole`: tiles that lie within out, n a multiple of 4, no bias. `edge`: any. Both give the same bits. */
function products(
  name: string,
  matrices: string,
  ends: { readonly whole: string; readonly edge: string },
  enables: readonly string[],
) {
  const product = (kind: 'whole' | 'edge', out: string, sums: string) =>
    defineKernel({
      name: `${name}_${kind}`,
      source: [out, convertSource, matrices, sums, tileSource, ends[kind]].join('\n'),
      entry: 'main',
      params,
      access: ['read_write', 'read', 'read', 'read', 'read'],
      variants,
      enables,
    });
  return {
    whole: product('whole', outVec4, wholeSource),
    edge: product('edge', outAny, edgeSource),
  };
}
const kernels = products(
  'matmul_f16',
  matricesSource,
  { whole: matricesWhole, edge: matricesEdge },
  ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
);
/** For tests on adapters with f16 alone. */
const emulatedKernels = products(
  'matmul_f16_emulated',
  emulatedSource,
  { whole: emulatedWhole, edge: emulatedEdge },
  ['f16'],
);

const tilesOf = (p: MatmulProblem, { subsM, subsN, tm, tn }: F16Tile): [number, number] => [
  Math.ceil(p.n / (16 * subsN * tn)),
  Math.ceil(p.m / (16 * subsM * tm)),
];

/** Tiles in one direction. */
interface Span {
  readonly first: number;
  readonly count: number;
}

/** How one product is computed. */
export interface F16Plan {
  readonly tile: F16Tile;
  /** Matrices made of scalars. */
  readonly emulated?: boolean;
}

export function f16PlanFor(p: MatmulProblem): F16Plan {
  const fills = (t: F16Tile) => tilesOf(p, t)[0] * tilesOf(p, t)[1] >= enough;
  const tile = () => {
    if (p.transA) return large;
    if (p.m <= 16) return fills(flat) ? flat : tiny;
    if (p.m <= 64) return p.n >= 8192 ? wide : narrow;
    return fills(large) ? large : middle;
  };
  return { tile: tile() };
}

/** Runs of k for a weight gradient: as many as fill the card, of at least 512 each. */
function splitsOf(args: MatmulArgs, p: MatmulProblem): number {
  if (!p.transA || p.transB || !args.accumulate || args.bias) return 1;
  const [x, y] = tilesOf(p, large);
  return Math.max(1, Math.min(Math.ceil(enough / (x * y)), Math.floor(p.k / 512), 64));
}

export function f16Matmul(
  r: Recorder,
  args: MatmulArgs,
  p: MatmulProblem,
  plan = f16PlanFor(p),
): void {
  const largest = p.transB ? undefined : largestOf(r, args.a);
  const a = panelsOfA(r, args, p, largest);
  // A weight, unless it is what the weight is multiplied with in its own gradient: then its panels are left from forward.
  const b = p.transA ? lastInputPanels(r, args.b) : keptPanelsOf(r, args.b);
  launch(r, args, p, plan, a, b, largest ?? a.tensor);
  a.release();
  b.release();
}

function panelsOfA(r: Recorder, { a }: MatmulArgs, p: MatmulProblem, largest?: Tensor): Panels {
  if (largest) return p.transA ? lastGradientPanels(r, a, largest) : gradientPanels(r, a, largest);
  return p.transA ? lastInputPanels(r, a) : inputPanels(r, a);
}

function launch(
  r: Recorder,
  args: MatmulArgs,
  p: MatmulProblem,
  plan: F16Plan,
  a: Panels,
  b: Panels,
  largest: Tensor,
): void {
  const { addend } = args;
  const k = padded(p.k);
  const chunk = padded(Math.ceil(k / splitsOf(args, p)));
  const parts = Math.ceil(k / chunk);
  const out = parts === 1 ? args.out : r.alloc([parts, p.m, p.n]);
  const { whole, edge } = plan.emulated ? emulatedKernels : kernels;
  const [across, down] = tilesOf(p, plan.tile);
  // Vectors of 8 from panel to panel.
  const strideA = 2 * padded(args.a.shape[1]!);
  const strideB = 2 * padded(args.b.shape[1]!);
  const fixed = constantsOf(plan.tile, p, strideA, strideB);
  const run = (kernel: typeof whole, x: Span, y: Span) => {
    if (x.count === 0 || y.count === 0) return;
    r.run(
      kernel,
      fixed,
      // The bias's binding holds what else is to be added, or another operand, unread.
      [out, a.tensor, b.tensor, args.bias ?? addend ?? b.tensor, largest],
      {
        m: p.m,
        n: p.n,
        k_padded: k,
        chunk,
        first_x: x.first,
        first_y: y.first,
        // Sums start from 0, from out, or from what else is to be added.
        start: addend ? 2 : args.accumulate && parts === 1 ? 1 : 0,
        has_bias: args.bias ? 1 : 0,
        stride_a: strideA,
        stride_b: strideB,
      },
      [x.count, y.count, parts],
    );
  };
  // Tiles over the edge of out take a dispatch of their own, or two.
  const direct = !args.bias && p.n % 4 === 0;
  const wholeX = direct ? Math.floor(p.n / (16 * plan.tile.subsN * plan.tile.tn)) : 0;
  const wholeY = direct ? Math.floor(p.m / (16 * plan.tile.subsM * plan.tile.tm)) : 0;
  const all = { first: 0, count: across };
  run(whole, { first: 0, count: wholeX }, { first: 0, count: wholeY });
  run(edge, { first: wholeX, count: across - wholeX }, { first: 0, count: wholeY });
  run(edge, all, { first: wholeY, count: down - wholeY });
  if (parts > 1) {
    reduceColumns(r, out, 0, parts, args.out);
    r.free(out);
  }
}
