/** The doctor's own small kernels: each a whole `.wgsl` file and the header that is put before it. */
import copy from './copy.wgsl';
import fill from './fill.wgsl';

export interface DoctorKernel {
  readonly name: string;
  readonly source: string;
  /** Constants that the header must set, with values that compile. */
  readonly constants: Readonly<Record<string, number>>;
}

export const fillKernel: DoctorKernel = {
  name: 'doctor/fill',
  source: fill,
  constants: { SEED: 1 },
};
export const copyKernel: DoctorKernel = {
  name: 'doctor/copy',
  source: copy,
  constants: { COUNT: 4096 },
};

/** All of them, for the compile check. */
export const doctorKernels = [fillKernel, copyKernel];

/** The text that Dawn compiles: constants, then the file as it is. */
export function shaderText(
  kernel: DoctorKernel,
  constants: Readonly<Record<string, number>>,
): string {
  const lines = Object.keys(kernel.constants).map(
    (name) => `const ${name} = ${constants[name]!}u;`,
  );
  return `${lines.join('\n')}\n${kernel.source}`;
}

/** Value `i` of an operand filled with `seed`, as fill.wgsl makes it. */
export function filledValue(i: number, seed: number): number {
  let h = Math.imul((i + seed) | 0, 0x9e3779b1);
  h ^= h >>> 15;
  return (Math.imul(h, 0x85ebca77) >>> 21) / 2048 - 0.5;
}
