/** Pipelines by kernel and constants, compiled at their first use. */
import type { DeviceTensor } from './device-tensor.js';
import { header, type Constants, type Kernel, type ParamType } from './kernel.js';

/** A kernel for one set of constants. */
export interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly id: number;
  readonly storage: GPUBindGroupLayout;
  readonly hasParams: boolean;
  /** Names and types, in the order of the struct. */
  readonly params: readonly (readonly [string, ParamType])[];
}

/** A dispatch with its params, ready to be recorded again and again: see Recorder.prepare. */
export interface Prepared {
  readonly compiled: Compiled;
  readonly group: GPUBindGroup;
  readonly params: GPUBindGroup | undefined;
  readonly tensors: readonly DeviceTensor[];
  readonly written: readonly DeviceTensor[];
  readonly grid: readonly [number, number, number];
}

/** All pipelines of a device. */
export class Pipelines {
  private readonly compiled = new Map<Kernel, Map<string, Compiled>>();
  private readonly byConstants = new WeakMap<Constants, { kernel: Kernel; compiled: Compiled }>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();
  private readonly device: GPUDevice;
  private readonly paramLayout: GPUBindGroupLayout;
  private lastId = 0;

  constructor(device: GPUDevice, paramLayout: GPUBindGroupLayout) {
    this.device = device;
    this.paramLayout = paramLayout;
  }

  /** Compiles where it must. */
  get(kernel: Kernel, constants: Constants): Compiled {
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
    c = { pipeline, id: ++this.lastId, storage, hasParams, params };
    variants.set(key, c);
    this.byConstants.set(constants, { kernel, compiled: c });
    return c;
  }
}
