/** For tests: a WebGPU device in the layer's reach, and tensors in plain buffers of it. */
import type { DType, Tensor } from '@realhf/api';
import { create, globals } from 'webgpu';

import type { BufferRange } from '../device-memory.js';
import { labelToggle, VulkanLayer, withVulkanLayer, type LayerOptions } from '../vulkan-layer.js';

const instances: GPU[] = [];

/** A device with the layer in the chain. */
export function openDevice(
  options: LayerOptions = {},
  toggles: string[] = [labelToggle],
): Promise<GPUDevice> {
  return withVulkanLayer(options, async () => {
    for (const [name, value] of Object.entries(globals))
      if (!(name in globalThis))
        Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    const gpu = create([
      `enable-dawn-features=allow_unsafe_apis,${toggles.join(',')}`,
      'backend=vulkan',
    ]);
    // An instance that is collected takes the process with it.
    instances.push(gpu);
    Reflect.set(globalThis, Symbol.for('@realhf/comm-nccl/test-instances'), instances);
    const adapter = await gpu.requestAdapter();
    if (!adapter) throw new Error('no adapter');
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    return adapter.requestDevice({
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
    });
  });
}

/** Lets the double of CUDA have the one GPU that Vulkan has. */
export function matchDouble(): void {
  const shown = new VulkanLayer().devices().find((d) => d.shown);
  if (shown) process.env.REALHF_DOUBLE_UUID = shown.uuid.replaceAll('-', '');
}

/** A tensor of part of a buffer. */
export interface PlainTensor extends Tensor {
  readonly buffer: GPUBuffer;
  readonly byteOffset: number;
}

const width = { f32: 4, i32: 4, u32: 4, f16: 2 } as const;

export function rangeOf(t: Tensor): BufferRange {
  const { buffer, byteOffset } = t as PlainTensor;
  return { buffer, offset: byteOffset, bytes: t.size * width[t.dtype] };
}

export function plain(device: GPUDevice, size: number, dtype: DType = 'f32'): PlainTensor {
  const buffer = device.createBuffer({
    size: Math.max(4, Math.ceil((size * width[dtype]) / 4) * 4),
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  return { shape: [size], size, dtype, buffer, byteOffset: 0 };
}

export function view(t: PlainTensor, offset: number, size: number): PlainTensor {
  return { ...t, shape: [size], size, byteOffset: t.byteOffset + offset * width[t.dtype] };
}

type Host = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

export function fill(device: GPUDevice, t: PlainTensor, data: Host): void {
  const bytes = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  device.queue.writeBuffer(t.buffer, t.byteOffset, bytes);
}

/** The bytes of a tensor, as WebGPU reads them. */
export async function bytesOf(device: GPUDevice, t: PlainTensor): Promise<ArrayBuffer> {
  const bytes = t.size * width[t.dtype];
  const size = Math.max(4, Math.ceil(bytes / 4) * 4);
  const back = device.createBuffer({
    size,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(t.buffer, t.byteOffset, back, 0, size);
  device.queue.submit([encoder.finish()]);
  await back.mapAsync(GPUMapMode.READ);
  const out = back.getMappedRange().slice(0, bytes);
  back.destroy();
  return out;
}
