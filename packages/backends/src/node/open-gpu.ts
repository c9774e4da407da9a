/**
 * Finds a GPU: hardware first, then the system's software Vulkan, then SwiftShader from npm, all in one process.
 * Every try that fails is told in plain words in `steps`. Contract: in a worker thread started without
 * `env: SHARE_ENV` only what the process environment already names is found, since Vulkan reads the real environment.
 */
import { ConfigError, DeviceError } from '@realhf/api';

import { createInstance } from './dawn.js';
import { adapterName, requestDevice, type UsedLimits } from '../webgpu/request-device.js';
import { findSwiftShaderPackage, unpackSwiftShader } from './swiftshader.js';
import { lavapipeDrivers, loadGlobally, loadSystemVulkan, withDrivers } from './vulkan-system.js';

/** Which adapter to open; `auto` takes the first that works of the others, in this order. */
export const adapterChoices = [
  'auto',
  'hardware',
  'system-software',
  'swiftshader',
  'null',
] as const;

/** An adapter that can be asked for. */
export type AdapterChoice = (typeof adapterChoices)[number];

/** An adapter that can be opened. */
export type AdapterKind = Exclude<AdapterChoice, 'auto'>;

/** Which adapter to open, and how. */
export interface OpenGpuOptions {
  /** Default `$REALHF_ADAPTER`, else `auto`. */
  readonly adapter?: AdapterChoice | undefined;
  /** true: only an adapter with f16; false: leave f16 off; undefined: on where it exists. */
  readonly f16?: boolean | undefined;
  /** Where SwiftShader is unpacked. Default `$XDG_CACHE_HOME/realhf` or `~/.cache/realhf`. */
  readonly cacheDir?: string | undefined;
  /** Files or `file:` URLs from which `@sparticuz/chromium` is looked for, before this package's own place. */
  readonly resolveFrom?: readonly (string | URL)[] | undefined;
  /** Bounds checks in shaders. Default: off on hardware, on elsewhere. */
  readonly robustness?: boolean | undefined;
  /** More Dawn toggles by name. */
  readonly toggles?: readonly string[] | undefined;
  /** Told every step as it is taken. */
  readonly log?: ((line: string) => void) | undefined;
  /** Told of errors that no error scope caught and of a lost device. Default: `log`, else a process warning. */
  readonly onError?: ((error: DeviceError) => void) | undefined;
}

/** A device, what it said of itself, and how it was found. */
export interface OpenedGpu {
  readonly device: GPUDevice;
  readonly adapterName: string;
  readonly kind: AdapterKind;
  /** True where a CPU does the work. */
  readonly isCpu: boolean;
  /** Vendor, architecture and driver as Dawn tells them. */
  readonly driver: string;
  readonly features: readonly string[];
  readonly limits: UsedLimits;
  readonly info: GPUAdapterInfo;
  /** What was tried, in order; the last one worked. */
  readonly steps: readonly string[];
}

/**
 * Opens a device on the adapter asked for. Throws DeviceError naming every step that failed and what to install,
 * ConfigError when `$REALHF_ADAPTER` is none of the choices.
 */
export async function openGpu(options: OpenGpuOptions = {}): Promise<OpenedGpu> {
  const choice = options.adapter ?? choiceFromEnvironment();
  // The environment is changed while an instance is made, so two callers must not do it at once.
  return inTurn(() => open(choice, options));
}

let queue: Promise<unknown> = Promise.resolve();

function inTurn<T>(body: () => Promise<T>): Promise<T> {
  const turn = queue.then(body);
  queue = turn.catch(() => undefined);
  return turn;
}

/** A device that compiles every kernel and computes nothing: a syntax check. */
export function openNullGpu(options: Omit<OpenGpuOptions, 'adapter'> = {}): Promise<OpenedGpu> {
  return openGpu({ ...options, adapter: 'null' });
}

function choiceFromEnvironment(): AdapterChoice {
  const value = process.env.REALHF_ADAPTER;
  if (!value) return 'auto';
  const choice = adapterChoices.find((c) => c === value);
  if (!choice)
    throw new ConfigError(`REALHF_ADAPTER is '${value}'; use one of ${adapterChoices.join(', ')}`);
  return choice;
}

async function open(choice: AdapterChoice, options: OpenGpuOptions): Promise<OpenedGpu> {
  const steps: string[] = [];
  const say = (line: string) => {
    steps.push(line);
    options.log?.(line);
  };
  const kinds: readonly AdapterKind[] =
    choice === 'auto' ? ['hardware', 'system-software', 'swiftshader'] : [choice];
  for (const kind of kinds) {
    try {
      const opened = await openKind(kind, options);
      say(`${kind}: ${opened.adapterName}`);
      return { ...opened, steps };
    } catch (e) {
      if (!DeviceError.is(e)) throw e;
      say(`${kind}: ${e.message}`);
    }
  }
  throw new DeviceError(
    `no WebGPU adapter (asked for ${choice}): ${steps.join('; ')}. Install a GPU driver with Vulkan, ` +
      'or Mesa 23 or later (Debian 12: mesa-vulkan-drivers from bookworm-backports), or run: npm install @sparticuz/chromium@147.0.0',
  );
}

type Opened = Omit<OpenedGpu, 'steps'>;

async function openKind(kind: AdapterKind, options: OpenGpuOptions): Promise<Opened> {
  const linux = process.platform === 'linux';
  if (kind === 'null') {
    return finish(
      kind,
      await requireAdapter('null', true, undefined, {}, options, 'Dawn has no null adapter'),
      options,
    );
  }
  if (kind === 'swiftshader') {
    const from = [...(options.resolveFrom ?? []), import.meta.url, `${process.cwd()}/package.json`];
    const files = unpackSwiftShader({
      from,
      ...(options.cacheDir ? { cacheDir: options.cacheDir } : {}),
    });
    const missing = loadSystemVulkan();
    if (missing) {
      const failed = loadGlobally(files.loader);
      if (failed) throw new DeviceError(`its Vulkan loader does not load: ${failed}`);
    }
    const adapter = await requireAdapter(
      'vulkan',
      true,
      [files.icd],
      {},
      options,
      `SwiftShader ${files.version} gave no adapter`,
    );
    if (adapter.info.architecture !== 'swiftshader') {
      throw new DeviceError(
        `Vulkan found ${adapterName(adapter.info)} instead; in a worker thread pass env: SHARE_ENV`,
      );
    }
    return finish(kind, adapter, options);
  }
  const missing = linux ? loadSystemVulkan() : undefined;
  if (missing)
    throw new DeviceError(
      `no Vulkan loader on this system (${missing}); it comes with a GPU driver or the package libvulkan1`,
    );
  const backend = linux ? 'vulkan' : undefined;
  if (kind === 'hardware') {
    const none = linux
      ? 'the Vulkan loader found no GPU driver that Dawn accepts'
      : `Dawn found no adapter on ${process.platform}`;
    const adapter = await requireAdapter(
      backend,
      false,
      undefined,
      { powerPreference: 'high-performance' },
      options,
      none,
    );
    if (adapter.info.isFallbackAdapter)
      throw new DeviceError(`no GPU driver, only software (${adapterName(adapter.info)})`);
    return finish(kind, adapter, options);
  }
  const lavapipe = linux ? lavapipeDrivers() : [];
  // A fresh instance never finds a fallback adapter when asked for one first, so ask for any and look.
  let adapter = await findAdapter(backend, true, undefined, {}, options);
  if (!adapter?.info.isFallbackAdapter) {
    adapter = lavapipe.length
      ? await findAdapter(backend, true, lavapipe, {}, options)
      : await findAdapter(backend, true, undefined, { forceFallbackAdapter: true }, options);
  }
  if (!adapter?.info.isFallbackAdapter) {
    throw new DeviceError(
      lavapipe.length
        ? `Dawn refuses the system's software Vulkan (${lavapipe.join(', ')}); Mesa 22 is too old, Debian 12 has a newer one in bookworm-backports`
        : 'no software Vulkan on this system; it is in the package mesa-vulkan-drivers',
    );
  }
  return finish(kind, adapter, options);
}

async function findAdapter(
  backend: 'vulkan' | 'null' | undefined,
  robustByDefault: boolean,
  drivers: readonly string[] | undefined,
  request: GPURequestAdapterOptions,
  options: OpenGpuOptions,
): Promise<GPUAdapter | null> {
  return withDrivers(drivers, async () => {
    const gpu = await createInstance({
      backend,
      robustness: options.robustness ?? robustByDefault,
      toggles: options.toggles,
    });
    return gpu.requestAdapter(request);
  });
}

async function requireAdapter(
  ...args: [...Parameters<typeof findAdapter>, string]
): Promise<GPUAdapter> {
  const [backend, robust, drivers, request, options, none] = args;
  const adapter = await findAdapter(backend, robust, drivers, request, options);
  if (!adapter) throw new DeviceError(none);
  return adapter;
}

async function finish(
  kind: AdapterKind,
  adapter: GPUAdapter,
  options: OpenGpuOptions,
): Promise<Opened> {
  const onError =
    options.onError ??
    ((error: DeviceError) => {
      if (options.log) options.log(error.message);
      else process.emitWarning(error.message, error.name);
    });
  const { device, features, limits } = await requestDevice(adapter, options.f16, onError);
  const { info } = adapter;
  const driver = [info.vendor, info.architecture, info.description].filter(Boolean).join(', ');
  return {
    device,
    adapterName: adapterName(info),
    kind,
    isCpu: kind === 'system-software' || kind === 'swiftshader',
    driver,
    features,
    limits,
    info,
  };
}

/**
 * Which software adapters this machine can open, for tests that run on each: `swiftshader` where npm brings it,
 * `system-software` where a Mesa is installed that Dawn accepts.
 */
export function testAdapters(): Promise<('swiftshader' | 'system-software')[]> {
  return inTurn(async () => {
    const found: ('swiftshader' | 'system-software')[] = [];
    if (findSwiftShaderPackage([import.meta.url, `${process.cwd()}/package.json`]))
      found.push('swiftshader');
    const drivers = lavapipeDrivers();
    if (process.platform === 'linux' && drivers.length > 0 && !loadSystemVulkan()) {
      const adapter = await findAdapter('vulkan', true, drivers, {}, {});
      if (adapter) found.push('system-software');
    }
    return found;
  });
}
