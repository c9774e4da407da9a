/** Compiles every kernel of the repository: what `tools/compile-wgsl.mjs` runs. */
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

/** Prints the problems; exit code 1 where there are any. */
export async function main(root: string): Promise<number> {
  const { problems, compiled, files } = await checkRepository(root);
  for (const problem of problems) console.log(problem);
  console.log(
    `wgsl: ${compiled} kernel variants of ${files} files compiled, ${problems.length} problems`,
  );
  return problems.length > 0 ? 1 : 0;
}
