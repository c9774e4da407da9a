/**
 * The Vulkan layer that this package carries: made known to Vulkan's loader while a WebGPU instance is made, asked
 * afterwards where a buffer lies. Dawn hands a buffer's label to Vulkan under the toggle `labelToggle`; a label for
 * the length of one call is how a buffer is found, so nothing is guessed by size.
 */
import { closeSync, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { DeviceError } from '@realhf/api';

import { bigOf, textOf, uuidText, viewOf, word } from './bytes.js';
import { openLibrary, type NativeLibrary } from './native-library.js';

/** The Dawn toggle without which no buffer is found. */
export const labelToggle = 'use_user_defined_labels_in_backend';

const layerName = 'VK_LAYER_REALHF_share';
const folder = fileURLToPath(new URL('../layer', import.meta.url));
const systemFolders = [
  '/usr/share/vulkan/explicit_layer.d',
  '/usr/local/share/vulkan/explicit_layer.d',
  '/etc/vulkan/explicit_layer.d',
];
const codes: Readonly<Record<number, string>> = {
  [-100001]:
    'the layer does not know the buffer; was the device opened inside withVulkanLayer, with the label toggle?',
  [-100002]: 'it has no memory yet',
  [-100003]: "its memory can't be exported by this driver",
  [-100004]: 'its memory was freed',
};

/** What the Vulkan layer does. */
export interface LayerOptions {
  /** Whether buffers can be shared. Default true. */
  readonly share?: boolean;
  /** The one physical device to see: index, UUID (with or without `GPU-`) or PCI address (`0000:3b:00.0`). */
  readonly device?: string;
}

/**
 * Runs `body`, which opens the WebGPU device, with the layer in Vulkan's chain. Two must not run at once: the
 * environment is the process's. Open the device with the Dawn toggle `labelToggle`.
 */
export async function withVulkanLayer<T>(
  options: LayerOptions,
  body: () => Promise<T>,
): Promise<T> {
  const { env } = process;
  const set: Record<string, string> = {
    // A path given replaces the loader's own, which are therefore named too.
    VK_LAYER_PATH: [folder, ...(env.VK_LAYER_PATH ? [env.VK_LAYER_PATH] : systemFolders)].join(':'),
    VK_INSTANCE_LAYERS: [
      layerName,
      ...(env.VK_INSTANCE_LAYERS ? [env.VK_INSTANCE_LAYERS] : []),
    ].join(':'),
    REALHF_VULKAN_SHARE: options.share === false ? '0' : '1',
    // By index: in the drivers' order, without Mesa's sorting.
    ...(options.device === undefined
      ? {}
      : { REALHF_VULKAN_DEVICE: options.device, NODEVICE_SELECT: '1' }),
  };
  const before = new Map(Object.keys(set).map((name) => [name, env[name]]));
  Object.assign(env, set);
  try {
    return await body();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(env, name);
      else env[name] = value;
    }
  }
}

/** Where a WebGPU buffer lies. */
export interface BufferPlace {
  /** Number of the allocation, never used twice. */
  readonly memory: bigint;
  readonly allocationBytes: number;
  readonly offset: number;
  readonly bytes: number;
  /** UUID of the physical device. */
  readonly device: string;
  readonly dedicated: boolean;
}

/** A physical device that Vulkan has. */
export interface VulkanDevice {
  readonly index: number;
  readonly name: string;
  readonly uuid: string;
  /** undefined where the driver doesn't tell. */
  readonly pci: string | undefined;
  readonly driver: string;
  readonly isCpu: boolean;
  /** Whether the choice of a device left it in. */
  readonly shown: boolean;
}

/** The Vulkan layer beneath Dawn that shares buffers with CUDA. */
export class VulkanLayer {
  private readonly library: NativeLibrary;
  private lastTag = 0;

  /** Throws DeviceError where the carried library does not load. */
  constructor() {
    const path = `${folder}/libVkLayer_realhf_share.so`;
    const out = 'uint8_t *';
    this.library = openLibrary({
      what: 'the Vulkan layer of @realhf/comm-nccl',
      candidates: [path],
      symbols: {
        realhf_layer_version: [],
        realhf_layer_find: ['uint64_t', out],
        realhf_layer_export: ['uint64_t', out],
        realhf_layer_alive: ['uint64_t'],
        realhf_layer_live: [out, out],
        realhf_layer_device: ['uint32_t', out],
      },
      advice: existsSync(path)
        ? 'it runs on x86-64 Linux with glibc'
        : 'the package is not whole: install it again',
    });
  }

  /** Where the buffer lies. Throws DeviceError where it isn't shared. */
  find(buffer: GPUBuffer): BufferPlace {
    const tag = ++this.lastTag;
    const place = new Uint8Array(56);
    const { label } = buffer;
    buffer.label = `realhf-share:${tag}`;
    const code = this.library.code('realhf_layer_find', tag, place);
    buffer.label = label;
    if (code !== 0) throw this.error(`buffer '${label}' of ${buffer.size} bytes`, code);
    const number = (at: number) => Number(bigOf(place, at));
    return {
      memory: bigOf(place, 0),
      allocationBytes: number(8),
      offset: number(16),
      bytes: number(24),
      device: uuidText(place.subarray(32, 48)),
      dedicated: viewOf(place).getUint32(48, true) === 1,
    };
  }

  /** Calls `use` with an fd of the memory, and closes it where `use` throws. */
  withFd<T>(place: BufferPlace, use: (fd: number) => T, owned: (e: unknown) => boolean): T {
    const slot = word();
    const code = this.library.code('realhf_layer_export', place.memory, slot);
    if (code !== 0) throw this.error(`memory of ${place.allocationBytes} bytes`, code);
    const fd = viewOf(slot).getInt32(0, true);
    try {
      return use(fd);
    } catch (e) {
      if (!owned(e)) closeSync(fd);
      throw e;
    }
  }

  isAlive(memory: bigint): boolean {
    return this.library.code('realhf_layer_alive', memory) === 1;
  }

  /** Buffers and allocations of sharing devices that live now. */
  live(): { buffers: number; memories: number } {
    const [buffers, memories] = [word(), word()];
    this.library.code('realhf_layer_live', buffers, memories);
    return { buffers: Number(bigOf(buffers)), memories: Number(bigOf(memories)) };
  }

  /** What Vulkan's last enumeration met, in its order; empty where the layer wasn't in the chain. */
  devices(): VulkanDevice[] {
    const found: VulkanDevice[] = [];
    const room = new Uint8Array(560);
    for (;;) {
      if (this.library.code('realhf_layer_device', found.length, room) === 0) return found;
      const v = viewOf(room);
      const hex = (at: number, n: number) => v.getInt32(at, true).toString(16).padStart(n, '0');
      found.push({
        index: found.length,
        name: textOf(room.subarray(0, 256)),
        uuid: uuidText(room.subarray(256, 272)),
        pci:
          v.getInt32(280, true) < 0
            ? undefined
            : `${hex(280, 4)}:${hex(284, 2)}:${hex(288, 2)}.${hex(292, 1)}`,
        isCpu: v.getUint32(276, true) === 4,
        shown: v.getUint32(300, true) === 1,
        driver: textOf(room.subarray(304, 560)),
      });
    }
  }

  private error(what: string, code: number): DeviceError {
    return new DeviceError(
      `sharing ${what} failed (${code}): ${codes[code] ?? 'the driver refused to export it'}`,
    );
  }
}
