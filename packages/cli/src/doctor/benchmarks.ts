/**
 * What an adapter really does: f32 and f16 matrix products by the kernels that training uses, each checked against f64
 * on the host, and a copy.
 */
import { Recorder, WebGpuOps } from '@realhf/backends';
import type { OpenedGpu } from '@realhf/backends/node';
import { NumericError, type Tensor } from '@realhf/api';

import { copyKernel, fillKernel, filledValue } from './kernels.js';
import { launch, median, readBack, run, storage, timeDispatch } from './measure.js';

/** A matrix product: c[size, size] = a · b. */
export interface MatmulResult {
  readonly size: number;
  readonly secondsPerProduct: number;
  /** 10^9 multiply-adds counted as two operations, a second. */
  readonly gflops: number;
  /** ‖c − c64‖ / ‖c64‖ over some elements. */
  readonly relativeError: number;
}

export interface CopyResult {
  readonly bytes: number;
  /** 10^9 bytes read and written, a second. */
  readonly gbPerSecond: number;
}

const seeds = [1, 77_777_777] as const;

/** x·Wᵀ with operands rounded to `precision`, of the largest size that is not too long on this adapter. */
export async function matmul(gpu: OpenedGpu, precision: 'f32' | 'f16'): Promise<MatmulResult> {
  const recorder = new Recorder({
    device: gpu.device,
    adapter: gpu.adapterName,
    isCpu: gpu.isCpu,
    matmulPrecision: precision,
    adapterInfo: gpu.info,
  });
  const ops = new WebGpuOps(recorder);
  const largest = gpu.isCpu ? 256 : 4096;
  // A display driver ends a kernel that takes seconds, so grow only while one product is short.
  for (let size = 256; ; size *= 2) {
    const result = await matmulOf(gpu, ops, precision, size, largest);
    recorder.pool.destroy();
    if (result) return result;
  }
}

/** @returns undefined when there is time for a larger size. */
async function matmulOf(
  gpu: OpenedGpu,
  ops: WebGpuOps,
  precision: string,
  size: number,
  largest: number,
): Promise<MatmulResult | undefined> {
  const [a, b] = seeds.map((seed) =>
    ops.fromHost(
      Float32Array.from({ length: size * size }, (_, i) => filledValue(i, seed)),
      [size, size],
    ),
  );
  const out = ops.fromHost(new Float32Array(size * size).fill(NaN), [size, size]);
  const batch = async (times: number) => {
    await ops.sync();
    const start = performance.now();
    for (let i = 0; i < times; i++) ops.matmul({ a: a!, b: b!, out, transB: true });
    await ops.sync();
    return (performance.now() - start) / 1000;
  };
  await batch(1);
  if (size < largest && (await batch(1)) < 0.02) return undefined;
  const secondsPerProduct = await median(gpu, batch);
  const relativeError = await compare(ops, out, size);
  if (!(relativeError < 1e-2)) {
    throw new NumericError(
      `the ${precision} matmul of size ${size} is wrong by ${relativeError} on ${gpu.adapterName}; update its driver`,
    );
  }
  return {
    size,
    secondsPerProduct,
    gflops: (2 * size ** 3) / secondsPerProduct / 1e9,
    relativeError,
  };
}

/** Some rows and columns against sums in f64. */
async function compare(ops: WebGpuOps, out: Tensor, size: number): Promise<number> {
  let difference = 0;
  let norm = 0;
  for (const row of [0, Math.floor(size / 3), size - 1]) {
    const c = await ops.read(out, row * size, size);
    for (let col = 0; col < size; col += Math.floor(size / 16) - 1) {
      let sum = 0;
      for (let k = 0; k < size; k++)
        sum += filledValue(row * size + k, seeds[0]) * filledValue(col * size + k, seeds[1]);
      difference += (sum - c[col]!) ** 2;
      norm += sum ** 2;
    }
  }
  return Math.sqrt(difference / norm);
}

export async function copyBandwidth(gpu: OpenedGpu): Promise<CopyResult> {
  const { device, limits } = gpu;
  const most = gpu.isCpu ? 2 ** 24 : 2 ** 28;
  let bytes = 2 ** 20;
  while (bytes < most && bytes * 2 <= limits.maxStorageBufferBindingSize) bytes *= 2;
  const from = await storage(device, bytes);
  const to = await storage(device, bytes);
  await run(
    device,
    await launch(device, fillKernel, { SEED: 1 }, 'fill', [from], fold(bytes / 4 / 256)),
    1,
  );
  const copy = await launch(
    device,
    copyKernel,
    { COUNT: bytes / 16 },
    'copy',
    [from, to],
    fold(bytes / 16 / 1024),
  );
  const seconds = await timeDispatch(gpu, copy);
  const at = bytes - 4096;
  const [a, b] = await Promise.all([
    readBack(device, from, at, 4096),
    readBack(device, to, at, 4096),
  ]);
  from.destroy();
  to.destroy();
  const copied = new Uint32Array(b);
  if (new Uint32Array(a).some((x, i) => x !== copied[i])) {
    throw new NumericError(
      `a copy of ${bytes} bytes is wrong on ${gpu.adapterName}; update its driver`,
    );
  }
  return { bytes, gbPerSecond: (2 * bytes) / seconds / 1e9 };
}

/** Workgroups in x and y: x holds 65,535 at most. */
function fold(count: number): [number, number] {
  const y = Math.ceil(count / 65535);
  return [Math.ceil(count / y), y];
}
