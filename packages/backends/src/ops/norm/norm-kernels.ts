/** The norm kernels: per row one invocation (software adapters) or one workgroup (GPUs), four columns at a time where rows allow. */
import type { NormArgs } from '@realhf/api';

import { defineKernel, type Kernel } from '../../webgpu/kernel.js';
import { rowsPerBlock } from '../bias/bias.js';
import convertSource from '../matmul/f16-convert.wgsl';
import backwardQuads from './norm-backward-quads.wgsl';
import backwardRows from './norm-backward-rows.wgsl';
import backwardWorkgroup from './norm-backward-workgroup.wgsl';
import panelsSource from './norm-panels.wgsl';
import quadsSource from './norm-quads.wgsl';
import rowsSource from './norm-rows.wgsl';
import weightsSource from './norm-weights.wgsl';
import workgroupSource from './norm-workgroup.wgsl';
import totalSource from './row-total.wgsl';

/** What does one row: an invocation or a workgroup. They differ in rounding, so one run must keep to one. */
export type NormVariant = 'rows' | 'workgroup';

const kinds: Readonly<Record<NormArgs['kind'], number>> = { layer: 0, rms: 1, gemma: 2 };
const kindNames = ['layer', 'rms', 'gemma'] as const;
/** Lanes of a row forward, 256 being what every device has: with them the order of its sums is fixed. */
const lanesOf = (dim: number) => (dim <= 2048 ? 128 : 256);

export const rowConstants = (variant: NormVariant, kind: NormArgs['kind'], dim: number) => ({
  WG: variant === 'rows' ? 8 : lanesOf(dim),
  KIND: kinds[kind],
});
/** Rows of 4·n columns, a quad a lane and turn. */
export const quadConstants = (kind: NormArgs['kind'], dim: number) => {
  const WG = lanesOf(dim);
  return { WG, KIND: kinds[kind], PER: Math.ceil(dim / 4 / WG) };
};
/** `most`: invocations that the device allows in a workgroup. */
export const backwardQuadConstants = (kind: NormArgs['kind'], dim: number, most: number) => {
  const WG = Math.min(512, most, Math.max(32, 2 ** Math.ceil(Math.log2(dim / 4))));
  const PER = Math.ceil(dim / 4 / WG);
  // Two rows hide each other's barriers; of long ones they take too many registers.
  return { WG, KIND: kinds[kind], PER, ROWS: PER === 1 ? 2 : 1 };
};
/** Longer rows would not stay in registers. */
export const mostQuadColumns = 16384;
export const weightsConstants = { WG: 64, BLOCK: rowsPerBlock };

const forwardParams = { rows: 'u32', dim: 'u32', eps: 'f32' } as const;
const quadParams = { rows: 'u32', quads: 'u32', eps: 'f32' } as const;
const backwardParams = { rows: 'u32', dim: 'u32', accumulate: 'u32' } as const;

function family(variant: NormVariant, forward: string, backward: string) {
  const variants = kindNames.map((k) => rowConstants(variant, k, 768));
  return {
    /** Workgroups for this many rows. */
    groups: (rows: number) => (variant === 'rows' ? Math.ceil(rows / 8) : rows),
    plain: defineKernel({
      name: `norm_${variant}`,
      source: forward,
      entry: 'plain',
      params: forwardParams,
      access: ['read_write', 'read_write', 'read', 'read'],
      variants,
    }),
    withBias: defineKernel({
      name: `norm_${variant}_bias`,
      source: forward,
      entry: 'with_bias',
      params: forwardParams,
      access: ['read_write', 'read_write', 'read', 'read', 'read'],
      variants,
    }),
    backward: defineKernel({
      name: `norm_backward_${variant}`,
      source: backward,
      entry: 'main',
      params: backwardParams,
      access: ['read_write', 'read', 'read', 'read', 'read'],
      variants,
    }),
  };
}

interface Family {
  readonly groups: (rows: number) => number;
  readonly plain: Kernel<typeof forwardParams>;
  readonly withBias: Kernel<typeof forwardParams>;
  readonly backward: Kernel<typeof backwardParams>;
}

export const rowKernels: Readonly<Record<NormVariant, Family>> = {
  rows: family('rows', rowsSource, backwardRows),
  workgroup: family('workgroup', totalSource + workgroupSource, totalSource + backwardWorkgroup),
};

const quads = defineKernel({
  name: 'norm_quads',
  source: totalSource + quadsSource,
  entry: 'plain',
  params: quadParams,
  access: ['read_write', 'read_write', 'read', 'read'],
  variants: kindNames.map((k) => quadConstants(k, 2048)),
});
export const quadKernels = {
  plain: quads,
  withBias: defineKernel({
    ...quads,
    name: 'norm_quads_bias',
    entry: 'with_bias',
    access: ['read_write', 'read_write', 'read', 'read', 'read'],
  }),
  /** dx and the blocks' part of the weights' gradients at once. */
  backward: defineKernel({
    name: 'norm_backward_quads',
    source: totalSource + backwardQuads,
    entry: 'main',
    params: {
      rows: 'u32',
      quads: 'u32',
      block: 'u32',
      blocks: 'u32',
      accumulate: 'u32',
      with_bias: 'u32',
    },
    access: ['read_write', 'read_write', 'read', 'read', 'read', 'read'],
    variants: kindNames.flatMap((k) =>
      [2048, 4096].map((dim) => backwardQuadConstants(k, dim, 256)),
    ),
  }),
};

/** For GPUs with f16: see norm-panels.wgsl. */
export const panelsKernel = defineKernel({
  name: 'norm_panels',
  source: [totalSource, workgroupSource, convertSource, panelsSource].join('\n'),
  entry: 'plain_panels',
  params: forwardParams,
  access: ['read_write', 'read_write', 'read', 'read', 'read_write'],
  variants: [rowConstants('workgroup', 'rms', 2048)],
  enables: ['f16'],
});

export const weightsKernel = defineKernel({
  name: 'norm_weights',
  source: weightsSource,
  entry: 'main',
  params: { rows: 'u32', dim: 'u32', blocks: 'u32' },
  access: ['read_write', 'read', 'read', 'read'],
  variants: [weightsConstants],
});
