/**
 * One launch for the products of all experts. Which rows are whose is on the device, so the grid is the most tiles there
 * could be and a tile finds its expert itself. Every element is one fma chain over ascending k, as in matmul.
 */
import { DeviceError, type GroupedMatmulArgs } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import aScalar from '../matmul/a-scalar.wgsl';
import aVec4 from '../matmul/a-vec4.wgsl';
import bScalar from '../matmul/b-scalar.wgsl';
import bVec4 from '../matmul/b-vec4.wgsl';
import tileSource from '../matmul/tile.wgsl';
import gpuSource from './grouped-gpu.wgsl';
import outScalar from './grouped-out-scalar.wgsl';
import outVec4 from './grouped-out-vec4.wgsl';
import cpuSource from './grouped-tile.wgsl';
import sharedSource from './grouped.wgsl';

const kinds = { forward: 0, input: 1, weight: 2 } as const;
const kindList = ['forward', 'input', 'weight'] as const;
/** Rows of a thread, threads along columns (8 each) and along rows. */
interface Tile {
  readonly rows: 4 | 8;
  readonly tx: number;
  readonly ty: number;
}
/** For experts of many rows, for some, for a few (decoding). */
const tiles: readonly [Tile, Tile, Tile] = [
  { rows: 8, tx: 16, ty: 16 },
  { rows: 8, tx: 8, ty: 8 },
  { rows: 4, tx: 8, ty: 4 },
];

const cpuConstants = (kind: GroupedMatmulArgs['kind']) => ({
  WG: 16,
  ROWS: 4,
  COLS: 2,
  COL_GAP: 4,
  KIND: kinds[kind],
});
const gpuConstants = (kind: GroupedMatmulArgs['kind'], { rows, tx, ty }: Tile) => ({
  ROWS: rows,
  COLS: 2,
  COL_GAP: 4 * tx,
  TX: tx,
  TY: ty,
  BK: 16,
  KIND: kinds[kind],
});
const params = { experts: 'u32', m: 'u32', n: 'u32', k: 'u32' } as const;
/** One kernel for each way to address, as in matmul. */
const addressings = (
  name: string,
  main: string,
  variants: readonly Readonly<Record<string, number>>[],
) =>
  Array.from({ length: 8 }, (_, bits) =>
    defineKernel({
      name: `${name}_${bits}`,
      source: [
        bits & 1 ? aVec4 : aScalar,
        bits & 2 ? bVec4 : bScalar,
        bits & 4 ? outVec4 : outScalar,
        tileSource,
        sharedSource,
        main,
      ].join('\n'),
      entry: 'main',
      params,
      access: ['read_write', 'read', 'read', 'read'],
      variants,
    }),
  );
const cpuKernels = addressings('moe_grouped_tile', cpuSource, kindList.map(cpuConstants));
const gpuKernels = addressings(
  'moe_grouped_gpu',
  gpuSource,
  kindList.flatMap((kind) => tiles.map((tile) => gpuConstants(kind, tile))),
);

/** Sizes of a call: m is only of `weight`, k only of the others. Throws DeviceError where shapes do not fit. */
function problem({ kind, a, b, out, offsets }: GroupedMatmulArgs) {
  const experts = offsets.size - 1;
  const [rows = 0, width = 0] = a.shape;
  const [b0 = 0, b1 = 0] = b.shape;
  const [m, n, k] =
    kind === 'forward'
      ? [0, b0 / experts, width]
      : kind === 'input'
        ? [0, b1, width]
        : [width, b1, 0];
  const fits =
    [a, b, out].every((t) => t.shape.length === 2 && t.dtype === 'f32') &&
    experts > 0 &&
    out.shape[1] === n &&
    (kind === 'weight'
      ? b0 === rows && out.shape[0] === experts * m
      : out.shape[0] === rows && (kind === 'forward' ? b1 === k : b0 === experts * k));
  if (!fits)
    throw new DeviceError(
      `groupedMatmul '${kind}' of [${a.shape.join(', ')}] and [${b.shape.join(', ')}] into [${out.shape.join(', ')}] over ${experts} experts: shapes do not fit`,
    );
  return { experts, rows, m, n, k };
}

/** `onGpu`: the form with workgroup memory. */
export function groupedMatmul(r: Recorder, args: GroupedMatmulArgs, onGpu = !r.isCpu): void {
  const { experts, rows, m, n, k } = problem(args);
  if (rows * n * (m + k) === 0) return;
  const isWeight = args.kind === 'weight';
  const whole = (rowLength: number, bit: number) => (rowLength % 4 === 0 ? bit : 0);
  const addressing =
    whole(isWeight ? m : k, 1) | whole(args.kind === 'forward' ? k : n, 2) | whole(n, 4);
  const tensors = [args.out, args.a, args.b, args.offsets];
  // Each expert may end with a tile that is not full.
  const rowTiles = (height: number) =>
    isWeight ? Math.ceil(m / height) : Math.ceil(rows / height) + Math.min(experts, rows) - 1;
  if (!onGpu) {
    const count = rowTiles(4) * Math.ceil(n / 8) * (isWeight ? experts : 1);
    r.run(
      cpuKernels[addressing]!,
      cpuConstants(args.kind),
      tensors,
      { experts, m, n, k },
      grid1d(Math.ceil(count / 16)),
    );
    return;
  }
  const tile = tileFor(isWeight ? m : rows / experts, n);
  r.run(gpuKernels[addressing]!, gpuConstants(args.kind, tile), tensors, { experts, m, n, k }, [
    Math.ceil(n / (8 * tile.tx)),
    rowTiles(tile.rows * tile.ty),
    isWeight ? experts : 1,
  ]);
}

/** By the rows that a product has on average; all tiles give the same bits. */
function tileFor(rows: number, n: number): Tile {
  if (rows >= 512 && n >= 512) return tiles[0];
  return rows > 32 ? tiles[1] : tiles[2];
}
