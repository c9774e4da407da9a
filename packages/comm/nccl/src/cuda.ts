/**
 * The part of CUDA's driver interface that is needed, by koffi. Contract: one thread calls it, and the context of one
 * device is current from `open` on. Every return code is checked.
 */
import { DeviceError } from '@realhf/api';
import koffi from 'koffi';

import { bigOf, intOf, textOf, uuidText, viewOf, word } from './bytes.js';
import { openLibrary, type NativeLibrary, type NativeValue } from './native-library.js';

const notReady = 600;
/** Streams that don't wait for the default one. */
const nonBlocking = 1;
/** CUDA 11.4: the first that has all of these entry points. */
const oldest = 11040;

const out = 'uint8_t *';
const symbols = {
  cuInit: ['uint32_t'],
  cuDriverGetVersion: [out],
  cuDeviceGetCount: [out],
  cuDeviceGet: [out, 'int'],
  cuDeviceGetName: [out, 'int', 'int'],
  cuDeviceGetUuid_v2: [out, 'int'],
  cuDeviceGetPCIBusId: [out, 'int', 'int'],
  cuDeviceTotalMem_v2: [out, 'int'],
  cuDevicePrimaryCtxRetain: [out, 'int'],
  cuDevicePrimaryCtxRelease_v2: ['int'],
  cuCtxSetCurrent: ['uint64_t'],
  cuStreamCreate: [out, 'uint32_t'],
  cuStreamQuery: ['uint64_t'],
  cuStreamSynchronize: ['uint64_t'],
  cuStreamDestroy_v2: ['uint64_t'],
  cuMemAlloc_v2: [out, 'size_t'],
  cuMemFree_v2: ['uint64_t'],
  cuMemAllocHost_v2: [out, 'size_t'],
  cuMemFreeHost: ['uint64_t'],
  cuMemGetInfo_v2: [out, out],
  cuMemcpyHtoDAsync_v2: ['uint64_t', 'uint64_t', 'size_t', 'uint64_t'],
  cuMemcpyDtoHAsync_v2: ['uint64_t', 'uint64_t', 'size_t', 'uint64_t'],
  cuMemcpyDtoDAsync_v2: ['uint64_t', 'uint64_t', 'size_t', 'uint64_t'],
  cuImportExternalMemory: [out, out],
  cuExternalMemoryGetMappedBuffer: [out, 'uint64_t', out],
  cuDestroyExternalMemory: ['uint64_t'],
  cuGetErrorName: ['int', out],
  cuGetErrorString: ['int', out],
} as const;

/** A GPU as CUDA sees it. */
export interface CudaDevice {
  readonly ordinal: number;
  readonly name: string;
  /** Lower-case hexadecimal with dashes. */
  readonly uuid: string;
  readonly pci: string;
  readonly bytes: number;
}

/** Host memory that the GPU copies from and to at full speed. */
export interface PinnedMemory {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

/** The CUDA driver, loaded at run time. */
export class Cuda {
  readonly path: string;
  /** 1000 × major + 10 × minor of the newest CUDA that the driver runs. */
  readonly version: number;
  readonly devices: readonly CudaDevice[];
  private readonly library: NativeLibrary;
  private current: CudaDevice | undefined;

  /** Loads `$REALHF_CUDA` or the driver's libcuda. Throws DeviceError where there is none, or one too old. */
  constructor() {
    const own = process.env.REALHF_CUDA;
    this.library = openLibrary({
      what: "NVIDIA's libcuda",
      candidates: own
        ? [own]
        : [
            'libcuda.so.1',
            'libcuda.so',
            '/usr/lib/wsl/lib/libcuda.so.1',
            '/usr/lib64/libcuda.so.1',
          ],
      symbols,
      advice:
        'it comes with the GPU driver (in a container: --gpus all); $REALHF_CUDA names another place',
    });
    this.path = this.library.path;
    const version = word();
    this.call('cuDriverGetVersion', version);
    this.version = intOf(version);
    if (this.version < oldest)
      throw new DeviceError(
        `${this.path} is of CUDA ${versionText(this.version)}; ${versionText(oldest)} or newer is needed, update the GPU driver`,
      );
    this.call('cuInit', 0);
    const count = word();
    this.call('cuDeviceGetCount', count);
    this.devices = Array.from({ length: intOf(count) }, (_, i) => this.describe(i));
  }

  private describe(index: number): CudaDevice {
    const [device, uuid, bytes] = [word(), new Uint8Array(16), word()];
    const [name, pci] = [new Uint8Array(128), new Uint8Array(32)];
    this.call('cuDeviceGet', device, index);
    const ordinal = intOf(device);
    this.call('cuDeviceGetName', name, name.length, ordinal);
    this.call('cuDeviceGetUuid_v2', uuid, ordinal);
    this.call('cuDeviceGetPCIBusId', pci, pci.length, ordinal);
    this.call('cuDeviceTotalMem_v2', bytes, ordinal);
    return {
      ordinal,
      name: textOf(name),
      uuid: uuidText(uuid),
      pci: textOf(pci).toLowerCase(),
      bytes: Number(bigOf(bytes)),
    };
  }

  /** Makes the device with this UUID the current one; without, the first. Throws DeviceError where there is none. */
  use(uuid?: string): CudaDevice {
    const device = uuid ? this.devices.find((d) => d.uuid === uuid) : this.devices[0];
    if (!device)
      throw new DeviceError(
        `CUDA has no GPU ${uuid ?? 'at all'}; it has ${this.devices.map((d) => d.uuid).join(', ') || 'none'}; does CUDA_VISIBLE_DEVICES leave it out?`,
      );
    if (this.current?.ordinal === device.ordinal) return device;
    const context = word();
    this.call('cuDevicePrimaryCtxRetain', context, device.ordinal);
    this.call('cuCtxSetCurrent', bigOf(context));
    this.current = device;
    return device;
  }

  createStream(): bigint {
    const stream = word();
    this.call('cuStreamCreate', stream, nonBlocking);
    return bigOf(stream);
  }
  /** Whether all work of the stream is done. */
  isDone(stream: bigint): boolean {
    const code = this.library.code('cuStreamQuery', stream);
    if (code !== 0 && code !== notReady) throw this.error('cuStreamQuery', code);
    return code === 0;
  }
  synchronize(stream: bigint): void {
    this.call('cuStreamSynchronize', stream);
  }
  destroyStream(stream: bigint): void {
    this.call('cuStreamDestroy_v2', stream);
  }

  alloc(bytes: number): bigint {
    const address = word();
    this.call('cuMemAlloc_v2', address, bytes);
    return bigOf(address);
  }
  free(address: bigint): void {
    this.call('cuMemFree_v2', address);
  }
  pin(bytes: number): PinnedMemory {
    const slot = word();
    this.call('cuMemAllocHost_v2', slot, bytes);
    const address = bigOf(slot);
    return { address, bytes: new Uint8Array(koffi.view(address, bytes)) };
  }
  unpin(memory: PinnedMemory): void {
    this.call('cuMemFreeHost', memory.address);
  }
  /** Bytes of the GPU's memory that no process uses. */
  freeBytes(): number {
    const [free, total] = [word(), word()];
    this.call('cuMemGetInfo_v2', free, total);
    return Number(bigOf(free));
  }
  toDevice(to: bigint, from: bigint, bytes: number, stream: bigint): void {
    this.call('cuMemcpyHtoDAsync_v2', to, from, bytes, stream);
  }
  toHost(to: bigint, from: bigint, bytes: number, stream: bigint): void {
    this.call('cuMemcpyDtoHAsync_v2', to, from, bytes, stream);
  }
  copy(to: bigint, from: bigint, bytes: number, stream: bigint): void {
    this.call('cuMemcpyDtoDAsync_v2', to, from, bytes, stream);
  }

  /** Memory behind an opaque fd; the fd is CUDA's when this returns, the caller's still when it throws. */
  importMemory(fd: number, bytes: number, dedicated: boolean): { handle: bigint; address: bigint } {
    const description = new Uint8Array(104);
    const d = viewOf(description);
    d.setInt32(0, 1, true);
    d.setInt32(8, fd, true);
    d.setBigUint64(24, BigInt(bytes), true);
    d.setUint32(32, dedicated ? 1 : 0, true);
    const slot = word();
    this.call('cuImportExternalMemory', slot, description);
    const handle = bigOf(slot);
    const range = new Uint8Array(88);
    viewOf(range).setBigUint64(8, BigInt(bytes), true);
    const address = word();
    try {
      this.call('cuExternalMemoryGetMappedBuffer', address, handle, range);
    } catch (e) {
      this.library.code('cuDestroyExternalMemory', handle);
      throw new MappingError(e);
    }
    return { handle, address: bigOf(address) };
  }
  releaseMemory(memory: { readonly handle: bigint; readonly address: bigint }): void {
    this.call('cuMemFree_v2', memory.address);
    this.call('cuDestroyExternalMemory', memory.handle);
  }

  private call(name: keyof typeof symbols, ...args: readonly NativeValue[]): void {
    const code = this.library.code(name, ...args);
    if (code !== 0) throw this.error(name, code);
  }
  private error(name: string, code: number): DeviceError {
    const text = (f: 'cuGetErrorName' | 'cuGetErrorString') => {
      const slot = word();
      if (this.library.code(f, code, slot) !== 0 || bigOf(slot) === 0n) return '';
      return textOf(new Uint8Array(koffi.view(bigOf(slot), 256)));
    };
    return new DeviceError(
      `${name} failed: ${text('cuGetErrorName') || 'error'} (${code}) ${text('cuGetErrorString')}`.trim(),
    );
  }
}

/** The import went well, so the fd is gone, and the mapping did not. */
export class MappingError extends DeviceError {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** 12040 → 12.4. */
export function versionText(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}
