/** The norm kernels: per row one invocation (software adapters) or one workgroup (GPUs). */
import type { NormArgs } from '@realhf/api';

import { defineKernel, type Kernel } from '../../webgpu/kernel.js';
import { rowsPerBlock } from '../bias/bias.js';
import convertSource from '../matmul/f16-convert.wgsl';
import backwardRows from './norm-backward-rows.wgsl';
import backwardWorkgroup from './norm-backward-workgroup.wgsl';
import panelsSource from './norm-panels.wgsl';
import rowsSource from './norm-rows.wgsl';
import weightsSource from './norm-weights.wgsl';
import workgroupSource from './norm-workgroup.wgsl';

/** What does one row: an invocation or a workgroup. They differ in rounding, so one run must keep to one. */
export type NormVariant = 'rows' | 'workgroup';

const sizes: Readonly<Record<NormVariant, number>> = { rows: 8, workgroup: 128 };
const kinds: Readonly<Record<NormArgs['kind'], number>> = { layer: 0, rms: 1, gemma: 2 };

export const rowConstants = (variant: NormVariant, kind: NormArgs['kind']) => ({
  WG: sizes[variant],
  KIND: kinds[kind],
});
export const weightsConstants = { WG: 64, BLOCK: rowsPerBlock };

const forwardParams = { rows: 'u32', dim: 'u32', eps: 'f32' } as const;
const backwardParams = { rows: 'u32', dim: 'u32', accumulate: 'u32' } as const;

function family(variant: NormVariant, forward: string, backward: string) {
  const variants = (['layer', 'rms', 'gemma'] as const).map((k) => rowConstants(variant, k));
  return {
    /** Workgroups for this many rows. */
    groups: (rows: number) => (variant === 'rows' ? Math.ceil(rows / sizes.rows) : rows),
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
  workgroup: family('workgroup', workgroupSource, backwardWorkgroup),
};

/** For GPUs with f16: see norm-panels.wgsl. */
export const panelsKernel = defineKernel({
  name: 'norm_panels',
  source: [workgroupSource, convertSource, panelsSource].join('\n'),
  entry: 'plain_panels',
  params: forwardParams,
  access: ['read_write', 'read_write', 'read', 'read', 'read_write'],
  variants: [rowConstants('workgroup', 'rms')],
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
