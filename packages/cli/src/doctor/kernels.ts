/** The doctor's own small kernels: each a whole `.wgsl` file and the header that is put before it. */
import copy from './copy.wgsl';
import fill from './fill.wgsl';
import matmulF16 from './matmul-f16.wgsl';
import matmulF32 from './matmul-f32.wgsl';

export interface DoctorKernel {
  readonly name: string;
  readonly source: string;
  /** Constants that the header must set, with values that compile. */
  readonly constants: Readonly<Record<string, number>>;
  readonly enables: readonly string[];
}

const plain = (name: string, source: string, constants: Record<string, number>): DoctorKernel => ({
  name,
  source,
  constants,
  enables: [],
});

export const fillKernel = plain('doctor/fill', fill, { SEED: 1 });
export const copyKernel = plain('doctor/copy', copy, { COUNT: 4096 });
export const matmulF32Kernel = plain('doctor/matmul-f32', matmulF32, { SIZE: 256 });
export const matmulF16Kernel: DoctorKernel = {
  ...plain('doctor/matmul-f16', matmulF16, { SIZE: 256 }),
  enables: ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
};

/** All of them, for the compile check. */
export const doctorKernels = [fillKernel, copyKernel, matmulF32Kernel, matmulF16Kernel];

/** The text that Dawn compiles: enables, constants, then the file as it is. */
export function shaderText(
  kernel: DoctorKernel,
  constants: Readonly<Record<string, number>>,
): string {
  const lines = kernel.enables.map((name) => `enable ${name};`);
  // Matrix loads in a loop that is uniform, though the analysis can't see it.
  if (kernel.enables.includes('chromium_experimental_subgroup_matrix')) {
    lines.unshift('diagnostic(off, chromium.subgroup_matrix_uniformity);');
  }
  for (const name of Object.keys(kernel.constants))
    lines.push(`const ${name} = ${constants[name]!}u;`);
  return `${lines.join('\n')}\n${kernel.source}`;
}

/** Value `i` of an operand filled with `seed`, as fill.wgsl makes it. */
export function filledValue(i: number, seed: number): number {
  let h = Math.imul((i + seed) | 0, 0x9e3779b1);
  h ^= h >>> 15;
  return (Math.imul(h, 0x85ebca77) >>> 21) / 2048 - 0.5;
}
