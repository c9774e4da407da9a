/** The device of a run: the best adapter, with the steps that led to it told once. */
import { WebGpuOps } from '@realhf/backends';
import { openGpu, type OpenedGpu, type OpenGpuOptions } from '@realhf/backends/node';

import type { CommonConfig } from '../options/schemas/common.js';

export interface OpenedOps {
  readonly ops: WebGpuOps;
  readonly gpu: OpenedGpu;
}

/** How exact products are, as the options say. */
export type Precision = Partial<Pick<CommonConfig, 'matmul_precision' | 'deterministic'>>;

/** Opens the adapter of `$REALHF_ADAPTER`, else the best there is. Throws DeviceError telling what was tried and what to install. */
export async function openOps(
  options: OpenGpuOptions = {},
  precision: Precision = {},
): Promise<OpenedOps> {
  const gpu = await openGpu({ resolveFrom: [import.meta.url], ...options });
  const { device, adapterName: adapter, isCpu, info: adapterInfo } = gpu;
  const { matmul_precision: matmulPrecision, deterministic } = precision;
  const kind = { device, adapter, isCpu, adapterInfo };
  return { ops: new WebGpuOps({ ...kind, matmulPrecision, deterministic }), gpu };
}

/** Calls `use` with an opened device, or with one that is opened for it and destroyed after it, failed or not. */
export async function withOps<T>(
  opened: OpenedOps | undefined,
  precision: Precision,
  use: (device: OpenedOps) => Promise<T>,
): Promise<T> {
  if (opened) return use(opened);
  const device = await openOps({}, precision);
  if (precision.matmul_precision === 'f16' && !device.ops.recorder.f16Matmul)
    warn(device.gpu.adapterName);
  try {
    return await use(device);
  } finally {
    device.ops.destroy();
  }
}

function warn(adapter: string): void {
  process.stderr.write(
    `note: matmul_precision=f16 needs f16 matrix units, which ${adapter} lacks; f32 is used\n`,
  );
}
