/**
 * Recorder: turns kernel launches into few submits. Dispatches share one pass; params go to slots of one uniform
 * buffer that is written once per submit; pipelines and bind groups are cached.
 */
import { DeviceError, type DType, type HostArray, type Tensor } from '@realhf/api';

import { BindGroupCache } from './bind-group-cache.js';
import { BufferPool } from './buffer-pool.js';
import { DeviceTensor, deviceTensor, dtypeBytes } from './device-tensor.js';
import { writeParams, type Constants, type Kernel, type ParamType } from './kernel.js';
import { OperandCache } from './operand-cache.js';
import { Pipelines, type Compiled, type Prepared } from './pipelines.js';
import { supportsF16Matmul } from './subgroup-matrix.js';

const slotBytes = 256;
const slots = 4096;
/** A GPU works on these while the next are recorded: few at first, when it has nothing to do. */
const [fewestPerSubmit, mostPerSubmit] = [32, 256];

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
  /** Decode steps in five kernels a layer where matmul rounds to f16 (Ops.decoder). Default false: not proved on a GPU yet. */
  readonly fusedDecode?: boolean | undefined;
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
  readonly fusedDecode: boolean;
  /** No tensor may be larger. */
  readonly maxTensorBytes: number;
  readonly pool: BufferPool;
  /** f16 forms of weights and the like. */
  readonly operands = new OperandCache((t) => {
    this.free(t);
  });
  /** Dispatches and submits since the start (for tests and timelines). */
  readonly counts = { dispatches: 0, submits: 0 };
  private readonly pipelines: Pipelines;
  private readonly bindGroups = new BindGroupCache();
  private readonly bound: DeviceTensor[] = [];
  private readonly paramData = new ArrayBuffer(slotBytes * slots);
  private readonly paramView = new DataView(this.paramData);
  private readonly paramBuffer: GPUBuffer;
  private readonly paramLayout: GPUBindGroupLayout;
  /** One for each slot: a dynamic offset costs twice as much as another group. */
  private readonly paramGroups: GPUBindGroup[] = [];
  private dispatchesPerSubmit: number;
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
    this.dispatchesPerSubmit = this.isCpu ? Infinity : fewestPerSubmit;
    this.f16Matmul =
      options.matmulPrecision === 'f16' && supportsF16Matmul(device, options.adapterInfo);
    this.f16Attention = this.f16Matmul && options.deterministic !== true;
    this.fusedDecode = this.f16Attention && options.fusedDecode === true;
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
    this.pipelines = new Pipelines(device, this.paramLayout);
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
    this.idle();
    const out = staging.getMappedRange(0, Math.ceil(n / 4) * 4).slice(0, n);
    staging.unmap();
    this.staging.push(staging);
    this.check();
    return out;
  }

  private idle(): void {
    if (!this.isCpu) this.dispatchesPerSubmit = fewestPerSubmit;
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

  /** Records one dispatch. `tensors` in binding order; a tensor may be bound twice only as read. */
  run<P extends Readonly<Record<string, ParamType>>>(
    kernel: Kernel<P>,
    constants: Constants,
    tensors: readonly Tensor[],
    params: { readonly [K in keyof P]: number },
    grid: readonly [number, number, number],
  ): void {
    const compiled = this.pipelines.get(kernel, constants);
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
    const group = this.groupOf(compiled, bound);
    const pass = this.passFor(compiled);
    pass.setBindGroup(0, group);
    if (compiled.hasParams) pass.setBindGroup(1, this.paramGroup(slot));
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
    this.counts.dispatches++;
    this.unsubmitted++;
  }

  /**
   * A dispatch for `record`, which costs the host a third of `run`. Its params are kept in line `slot` of `uniforms`
   * (`uniformLines`), so they cannot change; the tensors must live as long as it is used.
   */
  prepare<P extends Readonly<Record<string, ParamType>>>(
    uniforms: { readonly buffer: GPUBuffer; readonly slot: number },
    kernel: Kernel<P>,
    constants: Constants,
    tensors: readonly Tensor[],
    params: { readonly [K in keyof P]: number },
    grid: readonly [number, number, number],
  ): Prepared {
    const compiled = this.pipelines.get(kernel, constants);
    const bound = tensors.map((t) => deviceTensor(t));
    const data = new DataView(new ArrayBuffer(slotBytes));
    writeParams(compiled.params, params, data, 0);
    const offset = uniforms.slot * slotBytes;
    this.device.queue.writeBuffer(uniforms.buffer, offset, data.buffer);
    return {
      compiled,
      group: this.groupOf(compiled, bound),
      params: this.device.createBindGroup({
        layout: this.paramLayout,
        entries: [{ binding: 0, resource: { buffer: uniforms.buffer, offset, size: slotBytes } }],
      }),
      tensors: bound,
      written: bound.filter((_, i) => kernel.access[i] === 'read_write'),
      grid,
    };
  }

  /** Memory for the params of this many prepared dispatches; the caller destroys it. */
  uniformLines(count: number): GPUBuffer {
    return this.device.createBuffer({
      size: slotBytes * count,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
  }

  /** Records prepared dispatches, in order. */
  record(list: readonly Prepared[]): void {
    for (const { compiled, group, params, tensors, written, grid } of list) {
      if (this.unsubmitted >= this.dispatchesPerSubmit) this.flush();
      for (const t of tensors) t.buffer.lastRecorded = this.serial;
      for (const t of written) t.buffer.version++;
      const pass = this.passFor(compiled);
      pass.setBindGroup(0, group);
      if (params) pass.setBindGroup(1, params);
      pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
      this.unsubmitted++;
    }
    this.counts.dispatches += list.length;
  }

  private groupOf(compiled: Compiled, bound: readonly DeviceTensor[]): GPUBindGroup {
    return this.bindGroups.get(compiled.id, bound, () =>
      this.device.createBindGroup({
        layout: compiled.storage,
        entries: bound.map((d, binding) => ({
          binding,
          resource: { buffer: d.buffer.gpu, offset: d.byteOffset, size: d.byteLength },
        })),
      }),
    );
  }

  /** The open pass, with this pipeline. */
  private passFor(compiled: Compiled): GPUComputePassEncoder {
    if (!this.pass) {
      this.encoder ??= this.device.createCommandEncoder();
      this.pass = this.encoder.beginComputePass();
      this.lastPipeline = 0;
    }
    if (this.lastPipeline !== compiled.id) {
      this.pass.setPipeline(compiled.pipeline);
      this.lastPipeline = compiled.id;
    }
    return this.pass;
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
    if (!this.isCpu)
      this.dispatchesPerSubmit = Math.min(2 * this.dispatchesPerSubmit, mostPerSubmit);
  }

  async sync(): Promise<void> {
    this.flush();
    await this.device.queue.onSubmittedWorkDone();
    this.idle();
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
}
