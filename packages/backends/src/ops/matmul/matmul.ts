/**
 * Matrix product in all layouts. Each element of x·Wᵀ and dY·W is one fma chain over ascending k whatever m is, so
 * decode and training agree bit for bit.
 */
import type { MatmulArgs } from '@realhf/api';

import type { Recorder } from '../../webgpu/recorder.js';
import { add, copy } from '../elementwise/elementwise.js';
import { f16Matmul } from './f16.js';
import { gpuMatmul } from './gpu.js';
import { naiveMatmul } from './naive.js';
import { matmulProblem, type MatmulProblem } from './problem.js';
import { tileMatmul, type TileShape } from './tile.js';

/** out [m, n] = A·B (+ bias) (+ out with `accumulate`). Throws DeviceError if shapes do not fit. */
export function matmul(r: Recorder, args: MatmulArgs): void {
  const p = matmulProblem(args);
  if (p.m * p.n === 0) return;
  // Only the f16 kernels can start from another tensor than out, where they have no bias to add.
  if (args.addend && (!r.f16Matmul || args.bias || args.accumulate)) {
    const { addend, ...rest } = args;
    if (args.accumulate) add(r, args.out, addend, args.out);
    else copy(r, addend, args.out);
    matmul(r, { ...rest, accumulate: true });
  } else if (r.f16Matmul) f16Matmul(r, args, p);
  else if (!r.isCpu) gpuMatmul(r, args, p);
  else if (p.transA && p.transB) naiveMatmul(r, args);
  else tileMatmul(r, args, p, tileShape(r, p));
}

/** Measured: SwiftShader is best with the largest tile; lavapipe compiles large kernels for seconds, for little gain. */
function tileShape(r: Recorder, p: MatmulProblem): TileShape {
  if (/swiftshader/i.test(r.adapter)) return { rows: p.m <= 4 ? 4 : 8, cols: 4 };
  return { rows: p.transA && p.m > 4 ? 8 : 4, cols: 2 };
}
