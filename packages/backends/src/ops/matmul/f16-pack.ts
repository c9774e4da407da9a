/**
 * Operands of the f16 matmul: panels of 16 rows or columns, k by k, so that a tile is a few pieces of memory and both
 * operands look alike whatever the layout (that way round the matrix units are fed a quarter faster than row by row).
 */
import type { Tensor } from '@realhf/api';

import { defineKernel } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import convertSource from './f16-convert.wgsl';
import packScalar from './f16-pack-scalar.wgsl';
import packVec4 from './f16-pack-vec4.wgsl';
import packSource from './f16-pack.wgsl';

/** What the panels are made of: k runs along the other side. */
type PanelsOf = 'rows' | 'columns';

export interface Panels {
  /** f16 [panels, paddedK(k), 16]; whole tiles of 128, of which those beyond the matrix hold anything. */
  readonly tensor: Tensor;
  /** Frees it unless it is kept. */
  readonly release: () => void;
}

const kernels = (['rows', 'columns'] as const).flatMap((of) =>
  [packScalar, packVec4].map((load, i) =>
    defineKernel({
      name: `matmul_f16_pack_${of}_${i}`,
      source: [load, convertSource, packSource].join('\n'),
      entry: `by_${of}`,
      params: { rows: 'u32', cols: 'u32', k_padded: 'u32' },
      access: ['read_write', 'read', 'read'],
      variants: [{ SCALED: 0 }, { SCALED: 1 }],
      enables: ['f16'],
    }),
  ),
);

/** k of a panel: whole steps of every tile. */
export const paddedK = (k: number) => Math.ceil(k / 128) * 128;

/** `largest`: multiplied by the power of two that this asks for. `keep`: until x changes or is freed. */
export function panelsOf(
  r: Recorder,
  x: Tensor,
  of: PanelsOf,
  { largest, keep = false }: { largest?: Tensor | undefined; keep?: boolean },
): Panels {
  const [rows = 0, cols = 0] = x.shape;
  const [across, k] = of === 'rows' ? [rows, cols] : [cols, rows];
  const make = (stale?: Tensor) => {
    const dst = stale ?? r.alloc([8 * Math.ceil(across / 128), paddedK(k), 16], 'f16');
    r.run(
      kernels[(of === 'rows' ? 0 : 2) + (cols % 4 === 0 ? 1 : 0)]!,
      { SCALED: largest ? 1 : 0 },
      [dst, x, largest ?? x],
      { rows, cols, k_padded: paddedK(k) },
      [Math.ceil(across / 64), paddedK(k) / 64, 1],
    );
    return dst;
  };
  if (keep) return { tensor: r.operands.get(x, of, make), release: () => undefined };
  const tensor = make();
  return {
    tensor,
    release: () => {
      r.free(tensor);
    },
  };
}

/** Rows of a decode step, for which the kernels that make an operand also make its panels. */
export const fewRows = (r: Recorder, rows: number, columns: number) =>
  r.f16Matmul && rows <= 64 && columns % 128 === 0;

/** Panels of the rows of x, which `record` writes along with x: element (r, c) at ((r / 16) · columns + c) · 16 + r % 16. */
export function panelsAlong(r: Recorder, x: Tensor, record: (panels: Tensor) => void): void {
  r.operands.along(x, 'rows', (stale) => {
    const panels = stale ?? r.alloc([8, x.shape.at(-1)!, 16], 'f16');
    record(panels);
    return panels;
  });
}
