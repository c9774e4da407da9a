/** What to install for more speed than the adapter at hand gives. */
import type { OpenedGpu } from '@realhf/backends/node';

/** Lines of advice; empty on a GPU with f16 matrices. `undefined`: no adapter at all. */
export function advice(gpu: Pick<OpenedGpu, 'kind' | 'features'> | undefined): string[] {
  const driver =
    'a GPU: its vendor’s driver with Vulkan, on NVIDIA 525 or later (in a container: NVIDIA_DRIVER_CAPABILITIES=all and libvulkan1)';
  const mesa =
    'a faster CPU adapter: mesa-vulkan-drivers, Mesa 23 or later (Debian 12: from bookworm-backports)';
  const chromium = 'a CPU adapter by npm alone: npm install @sparticuz/chromium@147.0.0';
  switch (gpu?.kind) {
    case undefined:
      return [driver, mesa, chromium];
    case 'swiftshader':
      return [driver, mesa];
    case 'system-software':
    case 'null':
      return [driver];
    case 'hardware':
      return gpu.features.includes('shader-f16')
        ? []
        : ['f16: a newer driver; this one offers WebGPU no shader-f16'];
  }
}
