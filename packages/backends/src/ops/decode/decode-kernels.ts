/** The kernels of decode steps on GPUs with f16 matrices, and how their products are cut. */
import { defineKernel, type Access, type Constants, type ParamType } from '../../webgpu/kernel.js';
import convertSource from '../matmul/f16-convert.wgsl';
import attentionSource from './decode-attention.wgsl';
import embedSource from './decode-embed.wgsl';
import gatedSource from './decode-gated.wgsl';
import lanesSource from './decode-lanes.wgsl';
import logitsSource from './decode-logits.wgsl';
import matricesSource from './decode-matrices.wgsl';
import octetsSource from './decode-octets.wgsl';
import packSource from './decode-pack.wgsl';
import productSource from './decode-product.wgsl';
import qkvSource from './decode-qkv.wgsl';
import residualSource from './decode-residual.wgsl';

/** Subgroups, panels of 16 columns, and octets of k that are fetched at a time. */
interface DecodeTile {
  readonly S: 4 | 8 | 16;
  readonly TN: 1 | 2 | 4;
  readonly U: 1 | 2 | 4;
}
const productParams = {
  rows: 'u32',
  k: 'u32',
  n: 'u32',
  parts: 'u32',
  eps: 'f32',
  per: 'u32',
  step: 'u32',
  gap: 'u32',
} as const;

/** What differs between the products: NORMED by the squares of their rows, PAIRS of columns, SQUARES of what they make. */
interface Kind {
  readonly NORMED: 0 | 1;
  readonly PAIRS: 0 | 1;
  readonly SQUARES: 0 | 1;
}
export const productKinds = {
  qkv: { NORMED: 1, PAIRS: 1, SQUARES: 0 },
  residual: { NORMED: 0, PAIRS: 0, SQUARES: 1 },
  gated: { NORMED: 1, PAIRS: 1, SQUARES: 0 },
  logits: { NORMED: 1, PAIRS: 0, SQUARES: 0 },
} as const satisfies Record<string, Kind>;

/** By product, by timing; the order of a sum depends on S and U, so they must not depend on the rows. */
export const decodeTiles = {
  qkv: { S: 16, TN: 2, U: 4 },
  residual: { S: 16, TN: 1, U: 4 },
  gated: { S: 16, TN: 2, U: 4 },
  logits: { S: 8, TN: 4, U: 2 },
} as const satisfies Record<string, DecodeTile>;

export type ProductName = keyof typeof productKinds;

function product<P extends Readonly<Record<string, ParamType>>>(
  name: ProductName,
  end: string,
  params: P,
  access: readonly Access[],
  more: Constants = {},
) {
  return defineKernel({
    name: `decode_${name}`,
    source: [convertSource, octetsSource, end, productSource, matricesSource].join('\n'),
    entry: 'main',
    params: { ...productParams, ...params },
    access: ['read', 'read', 'read', ...access],
    variants: [1, 2, 4].map((TM) => ({ ...decodeTiles[name], ...productKinds[name], TM, ...more })),
    enables: ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
  });
}

export const qkvKernel = product(
  'qkv',
  qkvSource,
  {
    heads: 'u32',
    kv_heads: 'u32',
    has_bias: 'u32',
    table_stride: 'u32',
    page_bits: 'u32',
    limit: 'u32',
  },
  ['read', 'read', 'read', 'read', 'read_write', 'read_write', 'read_write'],
  { D: 64 },
);
export const residualKernel = product(
  'residual',
  residualSource,
  { gain: 'f32', parts_out: 'u32' },
  ['read', 'read_write', 'read_write', 'read_write'],
);
export const gatedKernel = product('gated', gatedSource, {}, ['read_write'], { KIND: 2 });
export const logitsKernel = product('logits', logitsSource, {}, ['read_write']);

export const attentionKernel = defineKernel({
  name: 'decode_attention',
  source: [convertSource, octetsSource, lanesSource, attentionSource].join('\n'),
  entry: 'main',
  params: {
    n: 'u32',
    kv_heads: 'u32',
    scale: 'f32',
    window: 'u32',
    table_stride: 'u32',
    page_bits: 'u32',
  },
  access: ['read', 'read', 'read', 'read', 'read', 'read_write'],
  variants: [
    { D: 64, G: 8, HV: 2 },
    { D: 128, G: 4, HV: 1 },
  ],
  enables: ['f16', 'subgroups'],
});
export const embedKernel = defineKernel({
  name: 'decode_embed',
  source: [convertSource, octetsSource, embedSource].join('\n'),
  entry: 'main',
  params: { n: 'u32', table_rows: 'u32', factor: 'f32', gain: 'f32' },
  access: ['read', 'read', 'read', 'read_write', 'read_write', 'read_write'],
  variants: [{}],
  enables: ['f16'],
});
export const packKernel = defineKernel({
  name: 'decode_pack',
  source: [convertSource, packSource].join('\n'),
  entry: 'main',
  params: { rows: 'u32', padded: 'u32', k: 'u32' },
  access: ['read', 'read_write'],
  variants: [{}],
  enables: ['f16'],
});
