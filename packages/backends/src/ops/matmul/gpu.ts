/**
 * Matmul on GPUs: tiles in workgroup memory, one kernel for all layouts, bit-equal to the naive kernel except where k is
 * split: the gradient of a small weight over many tokens, whose parts are added in a fixed order by a second stage.
 */
import type { MatmulArgs, Tensor } from '@realhf/api';

import type { Recorder } from '../../webgpu/recorder.js';
import { reduceColumns } from '../bias/bias.js';
import { addressingOf, addressings, matmulFields } from './addressing.js';
import largeSource from './gpu-large.wgsl';
import gpuSource from './gpu.wgsl';
import type { MatmulProblem } from './problem.js';
import tileSource from './tile.wgsl';

/** Rows of a thread, threads along the columns (8 each) and along the rows. */
export interface GpuTile {
  readonly rows: 4 | 8;
  readonly tx: number;
  readonly ty: number;
}

const blockK = 16;
/** From the most work per byte to the most workgroups: 128×128, 64×128, 64×64, 32×64. */
export const gpuTiles: readonly GpuTile[] = [
  { rows: 8, tx: 16, ty: 16 },
  { rows: 8, tx: 16, ty: 8 },
  { rows: 8, tx: 8, ty: 8 },
  { rows: 4, tx: 8, ty: 8 },
];
/** Workgroups that fill the card: about three for each of an H100's 132 multiprocessors, found by timing. */
const enough = 400;
/** Workgroups that a product split over k is cut into. */
const enoughSplit = 128;

const constants = (
  { rows, tx, ty }: GpuTile,
  transA: boolean,
  transB: boolean,
  writtenOut: boolean,
) => ({
  ROWS: rows,
  COLS: 2,
  COL_GAP: 4 * tx,
  TX: tx,
  TY: ty,
  BK: blockK,
  TRANS_A: transA ? 1 : 0,
  TRANS_B: transB ? 1 : 0,
  WRITTEN_OUT: writtenOut ? 1 : 0,
});
const allConstants = (tiles: readonly GpuTile[]) =>
  tiles.flatMap((tile) =>
    [0, 1, 2, 3].map((bits) =>
      constants(tile, (bits & 1) !== 0, (bits & 2) !== 0, tile === gpuTiles[0]),
    ),
  );
const kernels = addressings('matmul_gpu', [tileSource, gpuSource], allConstants(gpuTiles.slice(1)));
/** Of the largest tile, which most of the work of a large model is done in. */
const largeKernels = addressings(
  'matmul_gpu_large',
  [tileSource, largeSource],
  allConstants(gpuTiles.slice(0, 1)),
);

/** Tiles along n and m. */
const tilesOf = (p: MatmulProblem, { rows, tx, ty }: GpuTile): [number, number] => [
  Math.ceil(p.n / (8 * tx)),
  Math.ceil(p.m / (rows * ty)),
];

/** The first tile that makes enough workgroups, or the last. All give the same bits. */
export function gpuTileFor(p: MatmulProblem): GpuTile {
  const fits = (t: GpuTile) => tilesOf(p, t)[0] * tilesOf(p, t)[1] >= enough;
  return gpuTiles.find(fits) ?? gpuTiles.at(-1)!;
}

/** Weight gradients may split k instead, so they take a large tile wherever the weight has one. */
export function gradientTileFor(p: MatmulProblem): GpuTile {
  return p.m >= 512 && p.n >= 512 ? gpuTiles[0]! : gpuTiles[2]!;
}

/** Runs of k for a weight gradient: as many as fill the card, of at least 256 each. Depends on the sizes alone. */
export function gpuSplits(args: MatmulArgs, p: MatmulProblem, tile: GpuTile): number {
  if (!p.transA || p.transB || !args.accumulate || args.bias) return 1;
  const [x, y] = tilesOf(p, tile);
  return Math.max(1, Math.min(Math.ceil(enoughSplit / (x * y)), Math.floor(p.k / 256), 64));
}

export function gpuMatmul(
  r: Recorder,
  args: MatmulArgs,
  p: MatmulProblem,
  tile = p.transA ? gradientTileFor(p) : gpuTileFor(p),
): void {
  const splits = gpuSplits(args, p, tile);
  const chunk = Math.ceil(Math.ceil(p.k / splits) / blockK) * blockK;
  const parts = Math.ceil(p.k / chunk);
  if (parts === 1) {
    launch(r, args, p, tile, args.out, 1, chunk);
    return;
  }
  const partial = r.alloc([parts, p.m, p.n]);
  launch(r, { ...args, accumulate: false }, p, tile, partial, parts, chunk);
  reduceColumns(r, partial, 0, parts, args.out);
  r.free(partial);
}

function launch(
  r: Recorder,
  args: MatmulArgs,
  p: MatmulProblem,
  tile: GpuTile,
  out: Tensor,
  parts: number,
  chunk: number,
): void {
  const [x, y] = tilesOf(p, tile);
  r.run(
    (tile === gpuTiles[0] ? largeKernels : kernels)[addressingOf(p)]!,
    constants(tile, p.transA, p.transB, tile === gpuTiles[0] && !r.isCpu),
    [out, args.a, args.b, args.bias ?? args.b],
    matmulFields(args, p, chunk),
    [x, y, parts],
  );
}
