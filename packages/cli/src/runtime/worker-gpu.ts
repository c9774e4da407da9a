/**
 * The device of a worker: a GPU of its own where the machine has several and @realhf/comm-nccl is installed, opened so
 * that NCCL can reach its buffers. WebGPU itself has no way to choose one of two equal GPUs.
 */
import { ConfigError, RealError } from '@realhf/api';

import { openOps, type OpenedOps, type Precision } from '../experiments/open-ops.js';
import type { NcclPackage } from './nccl-package.js';

export interface WorkerGpuOptions {
  /** undefined: the best adapter there is, as in a run of one process. */
  readonly nccl: NcclPackage | undefined;
  /** This worker's place on its node, and how many there are. */
  readonly local: number;
  readonly perNode: number;
  /** Option `gpus`. */
  readonly gpus: readonly string[] | null;
  readonly precision: Precision;
}

export interface WorkerGpu extends OpenedOps {
  /** How the GPU was chosen; empty where it was not. */
  readonly choice: string;
}

/** Throws ConfigError where `gpus` can't be heeded, DeviceError where the GPU does not open. */
export async function openWorkerGpu(o: WorkerGpuOptions): Promise<WorkerGpu> {
  const { nccl, local, perNode, gpus, precision } = o;
  if (gpus && gpus.length < perNode)
    throw new ConfigError(
      `gpus names ${gpus.length} of ${perNode} devices of a node; name one for each worker`,
    );
  if (!nccl) {
    if (gpus)
      throw new ConfigError(
        'gpus chooses GPUs for workers by @realhf/comm-nccl, which is not there; install it or leave gpus out',
      );
    return { ...(await openOps({}, precision)), choice: '' };
  }
  const device = gpus?.[local] ?? chosen(nccl, local);
  const opened = await nccl.withVulkanLayer(device === undefined ? {} : { device }, () =>
    openOps({ toggles: [nccl.labelToggle] }, precision),
  );
  return { ...opened, choice: device === undefined ? '' : `GPU ${device}` };
}

/** CUDA's n-th GPU (CUDA_VISIBLE_DEVICES holds), from the first again when there are fewer; undefined without CUDA. */
function chosen(nccl: NcclPackage, local: number): string | undefined {
  try {
    const { devices } = new nccl.Cuda();
    return devices[local % Math.max(1, devices.length)]?.uuid;
  } catch (e) {
    if (!RealError.is(e)) throw e;
    return undefined;
  }
}
