/**
 * Compiles kernels in parallel ahead of their first use. Dawn hands out the same pipeline when a recorder asks for it, as
 * long as the one made here is reachable. For checks that use hundreds of kernels; a recorder compiles one by one.
 */
import { header, kernels } from '../webgpu/kernel.js';

/** All variants of the kernels whose name starts with `prefix` (emulations left out); keep the result. */
export async function compileAhead(device: GPUDevice, prefix: string): Promise<unknown[]> {
  const visibility = GPUShaderStage.COMPUTE;
  const uniform = device.createBindGroupLayout({
    entries: [{ binding: 0, visibility, buffer: { type: 'uniform' } }],
  });
  const chosen = kernels.filter((k) => k.name.startsWith(prefix) && !k.name.includes('emulated'));
  const made = chosen.flatMap((kernel) => {
    const storage = device.createBindGroupLayout({
      entries: kernel.access.map((a, binding) => ({
        binding,
        visibility,
        buffer: { type: a === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
      })),
    });
    const hasParams = Object.keys(kernel.params).length > 0;
    const layout = device.createPipelineLayout({
      bindGroupLayouts: hasParams ? [storage, uniform] : [storage],
    });
    return kernel.variants.map((constants) => {
      const module = device.createShaderModule({ code: header(kernel, constants) + kernel.source });
      return device.createComputePipelineAsync({
        layout,
        compute: { module, entryPoint: kernel.entry },
      });
    });
  });
  return Promise.all(made);
}
