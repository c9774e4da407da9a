/** Matrix product in all layouts. Each element is one fma chain over ascending k whatever m is, so decode and training agree bit for bit. */
import type { MatmulArgs } from '@realhf/api';

import type { Recorder } from '../../webgpu/recorder.js';
import { naiveMatmul } from './naive.js';

/** out [m, n] = A·B (+ bias) (+ out with `accumulate`). Throws DeviceError if shapes do not fit. */
export function matmul(r: Recorder, args: MatmulArgs): void {
  naiveMatmul(r, args);
}
