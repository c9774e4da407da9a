/** Matrix product in all layouts. Each element is one fma chain over ascending k whatever m is, so decode and training agree bit for bit. */
import type { MatmulArgs } from '@realhf/api';

import type { Recorder } from '../../webgpu/recorder.js';
import { naiveMatmul } from './naive.js';
import { matmulProblem } from './problem.js';
import { tileMatmul } from './tile.js';

/** out [m, n] = A·B (+ bias) (+ out with `accumulate`). Throws DeviceError if shapes do not fit. */
export function matmul(r: Recorder, args: MatmulArgs): void {
  const p = matmulProblem(args);
  if (p.m * p.n === 0) return;
  if (p.transA && p.transB) naiveMatmul(r, args);
  else
    tileMatmul(r, args, p, {
      rows: p.m <= 4 ? 4 : 8,
      cols: r.adapter.includes('SwiftShader') ? 4 : 2,
    });
}
