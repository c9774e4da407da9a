/**
 * Dawn, loaded once per process. An instance must stay reachable as long as the process runs: once collected,
 * the process dies inside Dawn. Several instances with different Vulkan drivers live side by side in one process.
 */
import { DeviceError } from '@realhf/api';

const instancesKey = Symbol.for('@realhf/dawn-instances');

interface DawnModule {
  readonly create: (options: string[]) => GPU;
  readonly globals: object;
}

let loading: Promise<DawnModule> | undefined;

/** Imports npm `webgpu` and sets its globals (GPUBufferUsage, GPUMapMode, …) where they are not yet. */
async function loadDawn(): Promise<DawnModule> {
  loading ??= import('webgpu').catch((cause: unknown) => {
    loading = undefined;
    const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new DeviceError(
      `the npm package webgpu does not load on ${process.platform} ${process.arch} (${why}); run: npm install webgpu@0.6.2`,
      { cause },
    );
  });
  const dawn = await loading;
  for (const [name, value] of Object.entries(dawn.globals)) {
    if (!(name in globalThis))
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  return dawn;
}

/** How Dawn is started. */
export interface InstanceOptions {
  /** `undefined`: the platform's own (Vulkan, Metal or D3D12). */
  readonly backend?: 'vulkan' | 'null' | undefined;
  /** Bounds checks in shaders; without them a matrix product is about a third faster, and a wrong index is undefined. */
  readonly robustness: boolean;
  /** More Dawn toggles by name; unknown ones are ignored by Dawn. */
  readonly toggles?: readonly string[] | undefined;
}

/** A new Dawn instance, kept reachable for good. Throws DeviceError when npm `webgpu` does not load. */
export async function createInstance(options: InstanceOptions): Promise<GPU> {
  const dawn = await loadDawn();
  // The unsafe APIs bring the matrix feature; NVIDIA has f16 only with its own toggle. skip_validation is left out
  // on purpose: an error in a shader would end the process.
  const on = [
    'allow_unsafe_apis',
    'vulkan_enable_f16_on_nvidia',
    ...(options.robustness ? [] : ['disable_robustness']),
    ...(options.toggles ?? []),
  ];
  const flags = [
    `enable-dawn-features=${on.join(',')}`,
    'disable-dawn-features=timestamp_quantization',
  ];
  if (options.backend) flags.push(`backend=${options.backend}`);
  let gpu: GPU;
  try {
    gpu = dawn.create(flags);
  } catch (cause) {
    throw new DeviceError(`Dawn made no instance with ${flags.join(' ')}`, { cause });
  }
  const kept = (Reflect.get(globalThis, instancesKey) as GPU[] | undefined) ?? [];
  kept.push(gpu);
  Reflect.set(globalThis, instancesKey, kept);
  return gpu;
}
