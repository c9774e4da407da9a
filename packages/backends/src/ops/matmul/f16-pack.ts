/**
 * Operands of the f16 matmul: panels of 16 rows, column by column, so that a tile is a few pieces of memory. The same
 * panels serve products that run over the columns and products that run over the rows.
 */
import type { Tensor } from '@realhf/api';

import { defineKernel } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import convertSource from './f16-convert.wgsl';
import packScalar from './f16-pack-scalar.wgsl';
import packVec4 from './f16-pack-vec4.wgsl';
import packSource from './f16-pack.wgsl';

export interface Panels {
  /** f16 [panels, padded(columns), 16]: whole tiles of 128 rows and columns, zeros where the matrix has nothing. */
  readonly tensor: Tensor;
  /** Frees it unless it is kept. */
  readonly release: () => void;
}

const kernels = [packScalar, packVec4].map((load, i) =>
  defineKernel({
    name: `matmul_f16_pack_${i}`,
    source: [load, convertSource, packSource].join('\n'),
    entry: 'pack',
    params: { rows: 'u32', cols: 'u32', padded: 'u32' },
    access: ['read_write', 'read', 'read'],
    variants: [{ SCALED: 0 }, { SCALED: 1 }],
    enables: ['f16'],
  }),
);
const plain = { SCALED: 0 };
const scaled = { SCALED: 1 };

/** Rows or columns in panels: whole steps of every tile. */
export const padded = (n: number) => Math.ceil(n / 128) * 128;

/** Makes panels of x, multiplied by the power of two that `largest` asks for. */
function make(r: Recorder, x: Tensor, largest: Tensor | undefined, stale?: Tensor): Tensor {
  const [rows = 0, cols = 0] = x.shape;
  const dst = stale ?? r.alloc([padded(rows) / 16, padded(cols), 16], 'f16');
  r.run(
    kernels[cols % 4 === 0 ? 1 : 0]!,
    largest ? scaled : plain,
    [dst, x, largest ?? x],
    { rows, cols, padded: padded(cols) },
    [padded(rows) / 64, padded(cols) / 64, 1],
  );
  return dst;
}

/** Panels as they are, times a power of two, and of few rows alone. */
type Form = 'rows' | 'scaled' | 'few';

const owned = (r: Recorder, tensor: Tensor): Panels => ({
  tensor,
  release: () => {
    r.free(tensor);
  },
});

/** Panels that are kept until x changes or is freed. */
export const keptPanelsOf = (r: Recorder, x: Tensor): Panels => ({
  tensor: r.operands.get(x, 'rows', (stale) => make(r, x, undefined, stale)),
  release: () => undefined,
});

/** Panels of x made anew, which stay with it for the product that asks for them last. */
function leftPanelsOf(r: Recorder, x: Tensor, form: Form, largest?: Tensor): Panels {
  let tensor: Tensor | undefined;
  r.operands.along(x, form, (stale) => (tensor = make(r, x, largest, stale)));
  return { tensor: tensor!, release: () => undefined };
}

/** Panels of x that were left, or new ones, for one product. */
const lastPanelsOf = (r: Recorder, x: Tensor, form: Form, largest?: Tensor) =>
  owned(r, r.operands.take(x, form) ?? make(r, x, largest));

/** Of what goes into a layer: panels that were made along with it, or such as stay for the gradient of the weight. */
export function inputPanels(r: Recorder, x: Tensor): Panels {
  const tensor = r.operands.peek(x, 'few');
  return tensor ? { tensor, release: () => undefined } : leftPanelsOf(r, x, 'rows');
}
export const lastInputPanels = (r: Recorder, x: Tensor) => lastPanelsOf(r, x, 'rows');

/** Of the gradient of what comes out: for that of the input, left for that of the weight. */
export const gradientPanels = (r: Recorder, dy: Tensor, largest: Tensor) =>
  leftPanelsOf(r, dy, 'scaled', largest);
export const lastGradientPanels = (r: Recorder, dy: Tensor, largest: Tensor) =>
  lastPanelsOf(r, dy, 'scaled', largest);

/** Rows of a decode step, for which the kernels that make an operand also make its panels. */
export const fewRows = (r: Recorder, rows: number, columns: number) =>
  r.f16Matmul && rows <= 64 && columns % 128 === 0;

/** Panels of at most 64 rows of x (what the others hold is never looked at), which `record` writes along with x: element (r, c) at ((r / 16) · columns + c) · 16 + r % 16. */
export function panelsAlong(r: Recorder, x: Tensor, record: (panels: Tensor) => void): void {
  r.operands.along(x, 'few', (stale) => {
    const panels = stale ?? r.alloc([8, x.shape.at(-1)!, 16], 'f16');
    record(panels);
    return panels;
  });
}
