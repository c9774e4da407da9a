/**
 * Recorder: turns kernel launches into few submits. Dispatches share one pass; params go to slots of one uniform
 * buffer that is written once per submit; pipelines and bind groups are cached.
 */
import { DeviceError, type DType, type HostArray, type Tensor } from '@realhf/api';

import { BindGroupCache } from './bind-group-cache.js';
import { BufferPool } from './buffer-pool.js';
import { DeviceTensor, deviceTensor, dtypeBytes } from './device-tensor.js';
import { header, writeParams, type Constants, type Kernel, type ParamType } from './kernel.js';
import { OperandCache } from './operand-cache.js';
import { supportsF16Matmul } from './subgroup-matrix.js';

const slotBytes = 256;
const slots = 4096;
/** A GPU works on these while the next are recorded. */
const gpuDispatchesPerSubmit = 256;

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly id: number;
  readonly storage: GPUBindGroupLayout;
  readonly hasParams: boolean;
  /** Names and types, in the order of the struct. */
  readonly params: readonly (readonly [string, ParamType])[];
}

/** A device and what is to be known of it. */
export interface RecorderOptions {
  readonly device: GPUDevice;
  /** Shown to users: the adapter's name. */
  readonly adapter: string;
  /** Software adapters (SwiftShader, lavapipe): kernels without workgroup memory are faster there. */
  readonly isCpu: boolean;
  /**
   * What matmul rounds its operands to. 'f16' (sums stay f32): where the device has f16 matrices, else f32 all the same.
   * Default 'f32'.
   */
  readonly matmulPrecision?: 'f32' | 'f16' | undefined;
  /**
   * Attention of whole sequences in the f32 kernel that decoding uses, also where matmul rounds to f16, so that sampled and
   * recomputed log-probs agree bit for bit. Default false; no difference under 'f32'.
   */
  readonly deterministic?: boolean | undefined;
  /** Largest tensor in bytes, where that shall be less than the device binds (tests). */
  readonly maxTensorBytes?: number;
  /** What the adapter told of itself; default the device's own. */
  readonly adapterInfo?: GPUAdapterInfo;
}

/** Records dispatches and submits them together; owns the device, its buffers and pipelines. */
export class Recorder {
  readonly device: GPUDevice;
  readonly adapter: string;
  readonly isCpu: boolean;
  /** matmul in f16: asked for, and the device can. */
  readonly f16Matmul: boolean;
  /** Attention in f16, too. */
  readonly f16Attention: boolean;
  /** No tensor may be larger. */
  readonly maxTensorBytes: number;
  readonly pool: BufferPool;
  /** f16 forms of weights and the like. */
  readonly operands = new OperandCache((t) => {
    this.free(t);
  });
  /** Dispatches and submits since the start (for tests and timelines). */
  readonly counts = { dispatches: 0, submits: 0 };
  private readonly compiled = new Map<Kernel, Map<string, Compiled>>();
  private readonly byConstants = new WeakMap<Constants, { kernel: Kernel; compiled: Compiled }>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();
  private readonly bindGroups = new BindGroupCache();
  private readonly bound: DeviceTensor[] = [];
  private readonly paramData = new ArrayBuffer(slotBytes * slots);
  private readonly paramView = new DataView(this.paramData);
  private readonly paramBuffer: GPUBuffer;
  private readonly paramLayout: GPUBindGroupLayout;
  /** One for each slot: a dynamic offset costs twice as much as another group. */
  private readonly paramGroups: GPUBindGroup[] = [];
  private readonly dispatchesPerSubmit: number;
  private usedSlots = 0;
  private unsubmitted = 0;
  private serial = 1;
  private encoder: GPUCommandEncoder | undefined;
  private pass: GPUComputePassEncoder | undefined;
  private lastPipeline = 0;
  private failure: DeviceError | undefined;
  private destroyed = false;
  private readonly staging: GPUBuffer[] = [];

  constructor(options: RecorderOptions) {
    const { device } = options;
    this.device = device;
    this.adapter = options.adapter;
    this.isCpu = options.isCpu;
    this.dispatchesPerSubmit = this.isCpu ? Infinity : gpuDispatchesPerSubmit;
    this.f16Matmul =
      options.matmulPrecision === 'f16' && supportsF16Matmul(device, options.adapterInfo);
    this.f16Attention = this.f16Matmul && options.deterministic !== true;
    const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
    this.maxTensorBytes = Math.min(
      maxStorageBufferBindingSize,
      maxBufferSize,
      options.maxTensorBytes ?? Infinity,
    );
    this.pool = new BufferPool(device, this.maxTensorBytes, (e) => (this.failure ??= e));
    this.paramBuffer = device.createBuffer({
      size: slotBytes * slots,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.paramLayout = device.createBindGroupLayout({
      entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'uniform' } }],
    });
    device.addEventListener('uncapturederror', (event) => {
      // Else Dawn prints it to stderr too.
      event.preventDefault();
      const message = event.error.message.split('\n')[0] ?? '';
      this.failure ??= new DeviceError(`the device reports an error: ${message}`);
    });
    void device.lost.then((info) => {
      if (!this.destroyed)
        this.failure ??= new DeviceError(
          `the device ${this.adapter} was lost (${info.reason}): ${info.message.split('\n')[0] ?? ''}; ${this.pool.held} bytes were held`,
        );
    });
  }

  // ---- memory ---------------------------------------------------------------------------------------

  alloc(shape: readonly number[], dtype: DType = 'f32'): DeviceTensor {
    const size = shape.reduce((a, b) => a * b, 1);
    const bytes = Math.max(4, size * dtypeBytes[dtype]);
    return new DeviceTensor(
      shape,
      dtype,
      this.pool.take(bytes, `tensor [${shape.join(', ')}] ${dtype}`),
    );
  }

  view(t: Tensor, offset: number, shape: readonly number[]): DeviceTensor {
    const base = deviceTensor(t);
    const byteOffset = base.byteOffset + offset * dtypeBytes[base.dtype];
    const size = shape.reduce((a, b) => a * b, 1);
    if (byteOffset % 256 !== 0)
      throw new DeviceError(
        `view at element ${offset} starts at byte ${byteOffset}, not a multiple of 256`,
      );
    if (offset + size > base.size)
      throw new DeviceError(
        `view [${shape.join(', ')}] at ${offset} exceeds tensor [${base.shape.join(', ')}]`,
      );
    return new DeviceTensor(shape, base.dtype, base.buffer, byteOffset, true);
  }

  free(t: Tensor): void {
    const d = deviceTensor(t);
    if (d.isView) return;
    d.freed = true;
    this.operands.drop(d.buffer);
    d.buffer.version++;
    this.pool.give(d.buffer);
  }

  /** A write waits for nothing: it goes to the queue before what is not yet submitted, so submit first if that uses the buffer. */
  write(t: Tensor, data: HostArray, offset = 0): void {
    const d = deviceTensor(t);
    const words = data instanceof Uint8Array ? Uint32Array.from(data) : data;
    if (d.dtype === 'f16')
      throw new DeviceError('write to an f16 tensor: convert on the device instead');
    if (offset + words.length > d.size)
      throw new DeviceError(
        `write of ${words.length} at ${offset} exceeds tensor [${d.shape.join(', ')}]`,
      );
    if (words.length === 0) return;
    if (d.buffer.lastRecorded === this.serial) this.flush();
    d.buffer.version++;
    this.device.queue.writeBuffer(
      d.buffer.gpu,
      d.byteOffset + offset * 4,
      words.buffer,
      words.byteOffset,
      words.byteLength,
    );
  }

  /** Submits and copies `count` elements from `offset` back. */
  async read(t: Tensor, offset = 0, count?: number): Promise<ArrayBuffer> {
    const d = deviceTensor(t);
    const bytes = dtypeBytes[d.dtype];
    const n = (count ?? d.size - offset) * bytes;
    if (offset * bytes + n > d.byteLength)
      throw new DeviceError(
        `read of ${n} bytes at ${offset * bytes} exceeds tensor [${d.shape.join(', ')}]`,
      );
    if (n === 0) return new ArrayBuffer(0);
    this.check();
    const staging = this.takeStaging(n);
    this.endPass();
    this.encoder ??= this.device.createCommandEncoder();
    this.encoder.copyBufferToBuffer(
      d.buffer.gpu,
      d.byteOffset + offset * bytes,
      staging,
      0,
      Math.ceil(n / 4) * 4,
    );
    d.buffer.lastRecorded = this.serial;
    this.flush();
    try {
      await staging.mapAsync(GPUMapMode.READ, 0, Math.ceil(n / 4) * 4);
    } catch (cause) {
      throw (
        this.failure ?? new DeviceError(`reading ${n} bytes from ${this.adapter} failed`, { cause })
      );
    }
    const out = staging.getMappedRange(0, Math.ceil(n / 4) * 4).slice(0, n);
    staging.unmap();
    this.staging.push(staging);
    this.check();
    return out;
  }

  private takeStaging(bytes: number): GPUBuffer {
    const at = this.staging.findIndex(
      (b) => b.size >= bytes && b.size <= Math.max(65536, bytes * 4),
    );
    if (at >= 0) return this.staging.splice(at, 1)[0]!;
    if (this.staging.length > 8) this.staging.shift()?.destroy();
    const size = Math.max(4096, 2 ** Math.ceil(Math.log2(bytes)));
    return this.device.createBuffer({
      size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
  }

  // ---- recording ------------------------------------------------------------------------------------

  /** Records one dispatch. `tensors` in binding order; a tensor may be bound twice only as read. */
  run<P extends Readonly<Record<string, ParamType>>>(
    kernel: Kernel<P>,
    constants: Constants,
    tensors: readonly Tensor[],
    params: { readonly [K in keyof P]: number },
    grid: readonly [number, number, number],
  ): void {
    const compiled = this.compile(kernel, constants);
    if (this.usedSlots === slots || this.unsubmitted >= this.dispatchesPerSubmit) this.flush();
    const slot = this.usedSlots;
    if (compiled.hasParams) {
      writeParams(compiled.params, params, this.paramView, slot * slotBytes);
      this.usedSlots++;
    }
    const bound = this.bound;
    bound.length = tensors.length;
    for (let i = 0; i < tensors.length; i++) {
      const d = deviceTensor(tensors[i]!);
      bound[i] = d;
      d.buffer.lastRecorded = this.serial;
      if (kernel.access[i] === 'read_write') d.buffer.version++;
    }
    const group = this.bindGroups.get(compiled.id, bound, () =>
      this.device.createBindGroup({
        layout: compiled.storage,
        entries: bound.map((d, binding) => ({
          binding,
          resource: { buffer: d.buffer.gpu, offset: d.byteOffset, size: d.byteLength },
        })),
      }),
    );
    if (!this.pass) {
      this.encoder ??= this.device.createCommandEncoder();
      this.pass = this.encoder.beginComputePass();
      this.lastPipeline = 0;
    }
    if (this.lastPipeline !== compiled.id) {
      this.pass.setPipeline(compiled.pipeline);
      this.lastPipeline = compiled.id;
    }
    this.pass.setBindGroup(0, group);
    if (compiled.hasParams) this.pass.setBindGroup(1, this.paramGroup(slot));
    this.pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
    this.counts.dispatches++;
    this.unsubmitted++;
  }

  private paramGroup(slot: number): GPUBindGroup {
    return (this.paramGroups[slot] ??= this.device.createBindGroup({
      layout: this.paramLayout,
      entries: [
        {
          binding: 0,
          resource: { buffer: this.paramBuffer, offset: slot * slotBytes, size: slotBytes },
        },
      ],
    }));
  }

  private endPass(): void {
    this.pass?.end();
    this.pass = undefined;
  }

  flush(): void {
    this.endPass();
    if (!this.encoder) return;
    if (this.usedSlots > 0)
      this.device.queue.writeBuffer(
        this.paramBuffer,
        0,
        this.paramData,
        0,
        this.usedSlots * slotBytes,
      );
    this.device.queue.submit([this.encoder.finish()]);
    this.encoder = undefined;
    this.usedSlots = 0;
    this.unsubmitted = 0;
    this.serial++;
    this.counts.submits++;
  }

  async sync(): Promise<void> {
    this.flush();
    await this.device.queue.onSubmittedWorkDone();
    this.check();
  }

  /** Throws the first error that the device reported since. */
  check(): void {
    if (this.failure) throw this.failure;
  }

  destroy(): void {
    this.destroyed = true;
    this.pool.destroy();
    this.device.destroy();
  }

  // ---- pipelines ------------------------------------------------------------------------------------

  private compile(kernel: Kernel, constants: Constants): Compiled {
    // Launchers that keep their constants are found without making a key.
    const known = this.byConstants.get(constants);
    if (known?.kernel === kernel) return known.compiled;
    let variants = this.compiled.get(kernel);
    if (!variants) this.compiled.set(kernel, (variants = new Map<string, Compiled>()));
    let key = '';
    for (const name in constants) key += `${name}=${constants[name]!},`;
    let c = variants.get(key);
    if (c) {
      this.byConstants.set(constants, { kernel, compiled: c });
      return c;
    }
    const access = kernel.access.join();
    let storage = this.layouts.get(access);
    if (!storage) {
      storage = this.device.createBindGroupLayout({
        entries: kernel.access.map((a, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: a === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
        })),
      });
      this.layouts.set(access, storage);
    }
    const hasParams = Object.keys(kernel.params).length > 0;
    const layout = this.device.createPipelineLayout({
      bindGroupLayouts: hasParams ? [storage, this.paramLayout] : [storage],
    });
    const module = this.device.createShaderModule({
      code: header(kernel, constants) + kernel.source,
      label: kernel.name,
    });
    const pipeline = this.device.createComputePipeline({
      layout,
      compute: { module, entryPoint: kernel.entry },
      label: kernel.name,
    });
    const params = Object.entries(kernel.params);
    c = { pipeline, id: ++this.pipelineId, storage, hasParams, params };
    variants.set(key, c);
    this.byConstants.set(constants, { kernel, compiled: c });
    return c;
  }
  private pipelineId = 0;
}
