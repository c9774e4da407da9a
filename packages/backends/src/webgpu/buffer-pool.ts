/**
 * Buffers are pooled by size class, because creating one costs a system call and a JS wrapper with a finalizer.
 * The queue runs in order, so a freed buffer may be handed out at once, even before the GPU is done with it.
 */
import { DeviceError } from '@realhf/api';

import type { PooledBuffer } from './device-tensor.js';

/** Next of {1, 1.25, 1.5, 1.75}·2^k, at least 256 bytes. */
export function sizeClass(bytes: number): number {
  if (bytes <= 256) return 256;
  const step = 2 ** (Math.floor(Math.log2(bytes - 1)) - 2);
  const unit = Math.max(256, step);
  return Math.ceil(bytes / unit) * unit;
}

export class BufferPool {
  private readonly free = new Map<number, PooledBuffer[]>();
  private readonly all = new Set<PooledBuffer>();
  private nextId = 1;
  live = 0;
  held = 0;
  peak = 0;
  private readonly device: GPUDevice;
  private readonly maxBytes: number;
  private readonly onError: (e: DeviceError) => void;

  constructor(device: GPUDevice, maxBytes: number, onError: (e: DeviceError) => void) {
    this.device = device;
    this.onError = onError;
    this.maxBytes = maxBytes;
  }

  /** `what` names the tensor in errors. */
  take(bytes: number, what: string): PooledBuffer {
    if (bytes > this.maxBytes) {
      throw new DeviceError(
        `${what} needs ${bytes} bytes, this adapter binds at most ${this.maxBytes}; split it or use smaller microbatches`,
      );
    }
    const size = Math.min(sizeClass(bytes), Math.floor(this.maxBytes / 4) * 4);
    const reused = this.fitting(size);
    if (reused) {
      this.live += reused.bytes;
      return reused;
    }
    this.device.pushErrorScope('out-of-memory');
    const gpu = this.device.createBuffer({
      size,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
      label: what,
    });
    const held = this.held;
    void this.device.popErrorScope().then((e) => {
      if (e)
        this.onError(
          new DeviceError(
            `out of memory: ${what}, ${size} bytes, with ${held} bytes held already; use smaller microbatches or gradient checkpointing`,
          ),
        );
    });
    const buffer: PooledBuffer = {
      gpu,
      id: this.nextId++,
      bytes: size,
      lastRecorded: 0,
      version: 0,
    };
    this.all.add(buffer);
    this.live += size;
    this.held += size;
    this.peak = Math.max(this.peak, this.held);
    return buffer;
  }

  /** A free buffer of this class, else the smallest of at most twice its size: batches of other lengths reuse memory. */
  private fitting(size: number): PooledBuffer | undefined {
    const exact = this.free.get(size)?.pop();
    if (exact) return exact;
    let best: PooledBuffer[] | undefined;
    let bestSize = 2 * size + 1;
    for (const [bytes, list] of this.free) {
      if (bytes <= size || bytes >= bestSize || list.length === 0) continue;
      best = list;
      bestSize = bytes;
    }
    return best?.pop();
  }

  give(buffer: PooledBuffer): void {
    this.live -= buffer.bytes;
    const list = this.free.get(buffer.bytes);
    if (list) list.push(buffer);
    else this.free.set(buffer.bytes, [buffer]);
  }

  destroy(): void {
    for (const b of this.all) b.gpu.destroy();
    this.all.clear();
    this.free.clear();
    this.live = this.held = 0;
  }
}
