/**
 * Matmul on software adapters: one register tile per invocation, bit-equal to the naive kernel. A kernel is put together
 * from whole WGSL files: the addressing of a, b and out, the tile, the loop of the layout.
 */
import type { MatmulArgs } from '@realhf/api';

import { grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { addressingOf, addressings, matmulFields } from './addressing.js';
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

const workgroup = 16;
const constants = ({ rows, cols }: TileShape) => ({
  WG: workgroup,
  ROWS: rows,
  COLS: cols,
  COL_GAP: 4,
});
const variants = ([4, 8] as const).flatMap((rows) =>
  ([2, 4] as const).map((cols) => constants({ rows, cols })),
);
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
