/**
 * Opens a device of `navigator.gpu` with all limits and features that the kernels use: what `openGpu` of the `/node`
 * subpath is under Node. Also for Deno and workers, whatever has a `GPU` object.
 */
import { DeviceError } from '@realhf/api';

import { adapterName, requestDevice, type UsedLimits } from './request-device.js';

/** How to open a browser's device. */
export interface OpenBrowserGpuOptions {
  /** Where adapters come from. Default `navigator.gpu`. */
  readonly gpu?: GPU | undefined;
  /** true: only an adapter with f16; false: leave f16 off; undefined: on where it exists. */
  readonly f16?: boolean | undefined;
  /** Default 'high-performance'. */
  readonly powerPreference?: GPUPowerPreference | undefined;
  /** Told of errors that no error scope caught and of a lost device. Default: it is reported as an uncaught error. */
  readonly onError?: ((error: DeviceError) => void) | undefined;
}

/** A browser's device and what it said of itself; `isCpu` goes on to `WebGpuOps`. */
export interface BrowserGpu {
  readonly device: GPUDevice;
  readonly adapterName: string;
  /** True where a CPU does the work (SwiftShader). */
  readonly isCpu: boolean;
  readonly features: readonly string[];
  readonly limits: UsedLimits;
  readonly info: GPUAdapterInfo;
}

/** Throws DeviceError where there is no WebGPU, no adapter, or no device with f16 although that was asked for. */
export async function openBrowserGpu(options: OpenBrowserGpuOptions = {}): Promise<BrowserGpu> {
  const scope = globalThis as { navigator?: { gpu?: GPU }; isSecureContext?: boolean };
  const gpu = options.gpu ?? scope.navigator?.gpu;
  if (!gpu) {
    throw new DeviceError(
      scope.isSecureContext === false
        ? 'no navigator.gpu: this page is not a secure context; serve it over https or from localhost'
        : "no navigator.gpu: this environment has no WebGPU; use a browser that has, or under Node openGpu of '@realhf/backends/node'",
    );
  }
  const adapter = await gpu.requestAdapter({
    powerPreference: options.powerPreference ?? 'high-performance',
  });
  if (!adapter) {
    throw new DeviceError(
      'navigator.gpu found no adapter; look at chrome://gpu or about:support, or allow software: chromium --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader',
    );
  }
  const onError =
    options.onError ??
    ((error: DeviceError) => {
      // From a task of its own, so that it reaches the page's error handler.
      queueMicrotask(() => {
        throw error;
      });
    });
  const { device, features, limits } = await requestDevice(adapter, options.f16, onError);
  const { info } = adapter;
  const isCpu = info.isFallbackAdapter || info.architecture === 'swiftshader';
  return { device, adapterName: adapterName(info), isCpu, features, limits, info };
}
