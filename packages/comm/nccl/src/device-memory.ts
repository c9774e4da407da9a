/**
 * Device addresses of WebGPU buffers for CUDA. `SharedMemory` maps the buffers themselves; `StagedMemory`, where that
 * can't be, copies through pinned host memory in windows. Fences both ways are here: the queue is drained before CUDA
 * may look, and the stream before `settle` returns.
 */
import type { Cuda, PinnedMemory } from './cuda.js';
import { MappingError } from './cuda.js';
import type { VulkanLayer } from './vulkan-layer.js';

/** Bytes of a WebGPU buffer with COPY_SRC and COPY_DST. */
export interface BufferRange {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** A range that an operation uses, and whether it needs what is there and changes it. */
export interface Use extends BufferRange {
  readonly reads: boolean;
  readonly writes: boolean;
}

/** Ranges of WebGPU's buffers as CUDA addresses. */
export interface DeviceMemory {
  readonly kind: 'shared' | 'staged';
  /** Device addresses by range, once WebGPU has done with them. Nothing else may use them until `settle`. */
  open(uses: readonly Use[]): Promise<bigint[]>;
  /** Brings what CUDA wrote back; the stream is done already. `failed`: nothing is brought back. */
  settle(uses: readonly Use[], addresses: readonly bigint[], failed: boolean): Promise<void>;
  close(): void;
}

interface Mapping {
  readonly handle: bigint;
  readonly address: bigint;
}

interface Known {
  readonly memory: bigint;
  readonly offset: number;
}

/** No copy: CUDA's addresses of the buffers' own memory. Mappings go when Vulkan has freed the memory. */
export class SharedMemory implements DeviceMemory {
  readonly kind = 'shared';
  private readonly mappings = new Map<bigint, Mapping>();
  private readonly known = new WeakMap<GPUBuffer, Known>();
  private readonly device: GPUDevice;
  private readonly cuda: Cuda;
  private readonly layer: VulkanLayer;
  private scratch: GPUBuffer | undefined;

  constructor(device: GPUDevice, cuda: Cuda, layer: VulkanLayer) {
    this.device = device;
    this.cuda = cuda;
    this.layer = layer;
  }

  /** How many allocations CUDA maps now. */
  get size(): number {
    return this.mappings.size;
  }

  async open(uses: readonly Use[]): Promise<bigint[]> {
    this.touch(uses);
    await this.device.queue.onSubmittedWorkDone();
    if (uses.some((u) => !this.known.has(u.buffer))) this.sweep();
    return uses.map((u) => this.address(u));
  }

  async settle(): Promise<void> {
    // CUDA wrote in place.
  }

  /**
   * A copy from each buffer. Dawn clears a buffer lazily before its first use, also after CUDA has written it; and it
   * holds a writeBuffer back until the next submit, which `onSubmittedWorkDone` does not bring about: without this one
   * an earlier write would land on what NCCL has received.
   */
  private touch(uses: readonly Use[]): void {
    this.scratch ??= this.device.createBuffer({ size: 4, usage: GPUBufferUsage.COPY_DST });
    const encoder = this.device.createCommandEncoder();
    for (const { buffer } of uses) encoder.copyBufferToBuffer(buffer, 0, this.scratch, 0, 4);
    this.device.queue.submit([encoder.finish()]);
  }

  private address({ buffer, offset }: Use): bigint {
    let place = this.known.get(buffer);
    if (!place) {
      const found = this.layer.find(buffer);
      if (!this.mappings.has(found.memory)) {
        const mapping = this.layer.withFd(
          found,
          (fd) => this.cuda.importMemory(fd, found.allocationBytes, found.dedicated),
          (e) => e instanceof MappingError,
        );
        this.mappings.set(found.memory, mapping);
      }
      place = { memory: found.memory, offset: found.offset };
      this.known.set(buffer, place);
    }
    return this.mappings.get(place.memory)!.address + BigInt(place.offset + offset);
  }

  /** Unmaps what Vulkan has freed; the driver keeps memory as long as it is mapped. */
  sweep(): void {
    for (const [memory, mapping] of this.mappings) {
      if (this.layer.isAlive(memory)) continue;
      this.mappings.delete(memory);
      this.cuda.releaseMemory(mapping);
    }
  }

  close(): void {
    for (const mapping of this.mappings.values()) this.cuda.releaseMemory(mapping);
    this.mappings.clear();
    this.scratch?.destroy();
  }
}

/** Bytes that cross the host at once. */
const windowBytes = 32 * 2 ** 20;

/** Through the host: read back, pinned memory, the GPU, and the same way back. */
export class StagedMemory implements DeviceMemory {
  readonly kind = 'staged';
  private readonly device: GPUDevice;
  private readonly cuda: Cuda;
  private readonly stream: bigint;
  private readonly window: number;
  private pinned: PinnedMemory | undefined;
  private back: GPUBuffer | undefined;

  constructor(device: GPUDevice, cuda: Cuda, stream: bigint, window = windowBytes) {
    this.device = device;
    this.cuda = cuda;
    this.stream = stream;
    this.window = Math.min(window, Math.floor(device.limits.maxBufferSize / 4) * 4);
  }

  async open(uses: readonly Use[]): Promise<bigint[]> {
    const addresses: bigint[] = [];
    try {
      for (const use of uses) {
        const address = this.cuda.alloc(Math.max(256, whole(use.bytes)));
        addresses.push(address);
        if (use.reads) await this.bringIn(use, address);
      }
    } catch (e) {
      for (const address of addresses) this.cuda.free(address);
      throw e;
    }
    return addresses;
  }

  async settle(uses: readonly Use[], addresses: readonly bigint[], failed: boolean): Promise<void> {
    const pinned = this.pinnedWindow();
    for (const [i, use] of uses.entries()) {
      const address = addresses[i]!;
      for (let at = 0; use.writes && !failed && at < use.bytes; at += this.window) {
        const n = Math.min(this.window, use.bytes - at);
        this.cuda.toHost(pinned.address, address + BigInt(at), n, this.stream);
        this.cuda.synchronize(this.stream);
        const { buffer, offset } = use;
        // A tail of less than a word keeps its neighbour.
        if (n % 4 !== 0) await this.keepTail(use, at + n - (n % 4), pinned.bytes, n);
        this.device.queue.writeBuffer(buffer, offset + at, pinned.bytes, 0, whole(n));
      }
      this.cuda.free(address);
    }
    await this.device.queue.onSubmittedWorkDone();
  }

  private async bringIn(use: Use, address: bigint): Promise<void> {
    const pinned = this.pinnedWindow();
    for (let at = 0; at < use.bytes; at += this.window) {
      const n = Math.min(this.window, use.bytes - at);
      pinned.bytes.set(await this.read(use.buffer, use.offset + at, whole(n)));
      this.cuda.toDevice(address + BigInt(at), pinned.address, n, this.stream);
      this.cuda.synchronize(this.stream);
    }
  }

  private async keepTail(use: Use, at: number, into: Uint8Array, n: number): Promise<void> {
    const old = await this.read(use.buffer, use.offset + at, 4);
    into.set(old.subarray(n % 4), n);
  }

  private async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    this.back ??= this.device.createBuffer({
      size: this.window,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, this.back, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
    await this.back.mapAsync(GPUMapMode.READ, 0, bytes);
    const copy = new Uint8Array(this.back.getMappedRange(0, bytes)).slice();
    this.back.unmap();
    return copy;
  }

  private pinnedWindow(): PinnedMemory {
    return (this.pinned ??= this.cuda.pin(this.window));
  }

  close(): void {
    if (this.pinned) this.cuda.unpin(this.pinned);
    this.pinned = undefined;
    this.back?.destroy();
  }
}

/** Copies in WebGPU are of whole words. */
function whole(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
