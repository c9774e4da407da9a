/** The device of a run: the best adapter, with the steps that led to it told once. */
import { WebGpuOps } from '@realhf/backends';
import { openGpu, type OpenedGpu, type OpenGpuOptions } from '@realhf/backends/node';

export interface OpenedOps {
  readonly ops: WebGpuOps;
  readonly gpu: OpenedGpu;
}

/** Opens the adapter of `$REALHF_ADAPTER`, else the best there is. Throws DeviceError telling what was tried and what to install. */
export async function openOps(options: OpenGpuOptions = {}): Promise<OpenedOps> {
  const gpu = await openGpu({ resolveFrom: [import.meta.url], ...options });
  return {
    ops: new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu }),
    gpu,
  };
}

/** Calls `use` with an opened device, or with one that is opened for it and destroyed after it, failed or not. */
export async function withOps<T>(
  opened: OpenedOps | undefined,
  use: (device: OpenedOps) => Promise<T>,
): Promise<T> {
  if (opened) return use(opened);
  const device = await openOps();
  try {
    return await use(device);
  } finally {
    device.ops.destroy();
  }
}
