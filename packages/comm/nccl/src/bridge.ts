/**
 * What a process needs once to give its WebGPU buffers to CUDA: the GPU's counterpart there and the way
 * to the memory, which is shared where the layer is in the chain and staged, with a warning of its cost, where not.
 */
import { DeviceError, RealError } from '@realhf/api';

import { Cuda, type CudaDevice } from './cuda.js';
import { SharedMemory, StagedMemory, type DeviceMemory } from './device-memory.js';
import { VulkanLayer } from './vulkan-layer.js';

/** How the memory of a WebGPU device and CUDA meet. */
export interface BridgeOptions {
  readonly device: GPUDevice;
  /** `auto` (default): shared where that works, else staged. */
  readonly memory?: 'auto' | 'shared' | 'staged';
  /** The GPU's UUID for staging, where it can't be found out. Default: CUDA's first. */
  readonly gpu?: string;
  /** Bytes that cross the host at once when staged. Default 32 MiB. */
  readonly windowBytes?: number;
  /** Told that memory is staged, why and how slow. Default: a process warning. */
  readonly warn?: (line: string) => void;
}

/** A stream and the memory as work on that stream sees it: one for each communicator. */
export interface Lane {
  readonly stream: bigint;
  readonly memory: DeviceMemory;
  close(): void;
}

/** WebGPU's device on one side, CUDA's on the other. */
export interface Bridge {
  readonly cuda: Cuda;
  readonly gpu: CudaDevice;
  readonly kind: 'shared' | 'staged';
  lane(): Lane;
  /** After its lanes are closed. */
  close(): void;
}

const probeBytes = 2 ** 20;

/**
 * Opens CUDA on the device's GPU. Throws DeviceError where there is no CUDA, or where `shared` was asked for and the
 * memory can't be.
 */
export async function openBridge(options: BridgeOptions): Promise<Bridge> {
  const cuda = new Cuda();
  const { device } = options;
  let reason = 'it was asked for';
  if (options.memory !== 'staged') {
    try {
      const layer = new VulkanLayer();
      const gpu = cuda.use(gpuOf(device, layer));
      const memory = new SharedMemory(device, cuda, layer);
      await proveSharing(device, cuda, memory);
      return {
        cuda,
        gpu,
        kind: 'shared',
        lane: () => lane(cuda, cuda.createStream(), memory, false),
        close() {
          memory.close();
        },
      };
    } catch (e) {
      if (!RealError.is(e) || options.memory === 'shared') throw e;
      reason = e.message;
    }
  }
  const gpu = cuda.use(options.gpu);
  const staged = (): Lane => {
    const stream = cuda.createStream();
    return lane(cuda, stream, new StagedMemory(device, cuda, stream, options.windowBytes), true);
  };
  const warn =
    options.warn ??
    ((line: string) => {
      process.emitWarning(line, 'NcclStaging');
    });
  const probe = staged();
  const rate = await stagedRate(device, probe.memory);
  probe.close();
  warn(
    `NCCL works on copies of WebGPU's buffers, through the host at ${rate.toFixed(1)} GB/s each way, ` +
      `instead of on the buffers themselves: ${reason}`,
  );
  return {
    cuda,
    gpu,
    kind: 'staged',
    lane: staged,
    close() {
      // A lane closes what it has.
    },
  };
}

function lane(cuda: Cuda, stream: bigint, memory: DeviceMemory, owned: boolean): Lane {
  return {
    stream,
    memory,
    close() {
      cuda.synchronize(stream);
      if (owned) memory.close();
      cuda.destroyStream(stream);
    },
  };
}

function storage(device: GPUDevice, size: number, label: string): GPUBuffer {
  return device.createBuffer({
    size,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    label,
  });
}

function gpuOf(device: GPUDevice, layer: VulkanLayer): string {
  const probe = storage(device, 256, 'probe');
  try {
    return layer.find(probe).device;
  } finally {
    probe.destroy();
  }
}

/** A word goes from WebGPU to CUDA and back: a driver that maps other memory is seen here, not in a run. */
async function proveSharing(device: GPUDevice, cuda: Cuda, memory: SharedMemory): Promise<void> {
  const stream = cuda.createStream();
  const probe = storage(device, probeBytes, 'sharing probe');
  const pinned = cuda.pin(16);
  const back = device.createBuffer({
    size: 8,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  try {
    const sent = new Uint32Array([0x5eed1e55, 0x0ddba11]);
    device.queue.writeBuffer(probe, probeBytes - 8, sent);
    const use = { buffer: probe, offset: probeBytes - 8, bytes: 8, reads: true, writes: true };
    const [address] = await memory.open([use]);
    cuda.toHost(pinned.address, address!, 8, stream);
    cuda.synchronize(stream);
    const seen = new Uint32Array(pinned.bytes.slice(0, 8).buffer);
    if (seen[0] !== sent[0] || seen[1] !== sent[1])
      throw new DeviceError('CUDA reads other memory than WebGPU wrote');
    pinned.bytes.set(new Uint8Array(new Uint32Array([0xc0ffee, seen[0]!]).buffer), 8);
    cuda.toDevice(address!, pinned.address + 8n, 8, stream);
    cuda.synchronize(stream);
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(probe, probeBytes - 8, back, 0, 8);
    device.queue.submit([encoder.finish()]);
    await back.mapAsync(GPUMapMode.READ);
    const got = new Uint32Array(back.getMappedRange());
    if (got[0] !== 0xc0ffee || got[1] !== sent[0])
      throw new DeviceError('WebGPU does not read what CUDA wrote into its buffer');
  } finally {
    cuda.destroyStream(stream);
    cuda.unpin(pinned);
    probe.destroy();
    back.destroy();
  }
}

/** GB/s of one way, measured over a probe. */
async function stagedRate(device: GPUDevice, memory: DeviceMemory): Promise<number> {
  const probe = storage(device, 4 * probeBytes, 'staging probe');
  const uses = [{ buffer: probe, offset: 0, bytes: probe.size, reads: true, writes: true }];
  let seconds = Infinity;
  for (let i = 0; i < 2; i++) {
    const start = performance.now();
    await memory.settle(uses, await memory.open(uses), false);
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  probe.destroy();
  return (2 * uses[0]!.bytes) / seconds / 1e9;
}
