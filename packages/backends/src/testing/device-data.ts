/** Host arrays to test tensors and back. */
import type { DType, HostArray, Tensor } from '@realhf/api';

import type { Recorder } from '../webgpu/recorder.js';

/** A tensor of `shape` (default: flat) holding `data`. */
export function upload(
  r: Recorder,
  data: HostArray,
  shape: readonly number[] = [data.length],
  dtype: DType = 'f32',
): Tensor {
  const t = r.alloc(shape, dtype);
  r.write(t, data);
  return t;
}

/** An output that must be written everywhere: all NaN. */
export function poisoned(r: Recorder, shape: readonly number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return upload(r, new Float32Array(size).fill(NaN), shape);
}

export async function download(r: Recorder, t: Tensor): Promise<Float32Array> {
  return new Float32Array(await r.read(t));
}
