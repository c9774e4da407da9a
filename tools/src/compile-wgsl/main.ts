/** Compiles every kernel of the repository; `tools/compile-wgsl.mjs` prints what it returns. */
import { kernels } from '@realhf/backends';
import { openNullGpu } from '@realhf/backends/node';

import { doctorKernels } from '../../../packages/cli/src/doctor/kernels.js';
import { compileAll, doctorUnit, kernelUnits, wgslFiles } from './compile.js';

/** Problems, and how many texts were compiled out of how many files. */
export async function checkRepository(
  root: string,
): Promise<{ problems: string[]; compiled: number; files: number }> {
  const { device } = await openNullGpu();
  const units = [...kernels.flatMap(kernelUnits), ...doctorKernels.map(doctorUnit)];
  const files = wgslFiles(root);
  const problems = await compileAll(device, units, files);
  device.destroy();
  return { problems, compiled: units.length, files: files.size };
}
