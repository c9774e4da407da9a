/**
 * What an adapter really does: f32 and f16 matrix products (each checked against f64 on the host) and a copy.
 * The kernels are small ones of the doctor's own, so the numbers say what the card is, not what a tuned kernel reaches.
 */
import { subgroupMatrixConfigs, type OpenedGpu } from '@realhf/backends/node';
import { NumericError } from '@realhf/api';

import {
  copyKernel,
  fillKernel,
  filledValue,
  matmulF16Kernel,
  matmulF32Kernel,
  type DoctorKernel,
} from './kernels.js';
import { launch, readBack, run, storage, timeDispatch } from './measure.js';

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

/** Can this device run the f16 matrix kernel: 16 × 16 × 16 in f16 with f32 sums, subgroups of exactly 32? */
export function hasF16Matrices({ device, info, limits, kind }: OpenedGpu): boolean {
  return (
    kind !== 'null' &&
    device.features.has('shader-f16') &&
    info.subgroupMinSize === 32 &&
    info.subgroupMaxSize === 32 &&
    limits.maxComputeInvocationsPerWorkgroup >= 512 &&
    limits.maxComputeWorkgroupStorageSize >= 35_840 &&
    subgroupMatrixConfigs(info).some(
      (c) =>
        c.componentType === 'f16' &&
        c.resultComponentType === 'f32' &&
        c.M === 16 &&
        c.N === 16 &&
        c.K === 16,
    )
  );
}

export function matmulF32(gpu: OpenedGpu): Promise<MatmulResult> {
  return matmul(gpu, matmulF32Kernel, 'fill_f32', 4, 64);
}

export function matmulF16(gpu: OpenedGpu): Promise<MatmulResult> {
  return matmul(gpu, matmulF16Kernel, 'fill_f16', 2, 128);
}

async function matmul(
  gpu: OpenedGpu,
  kernel: DoctorKernel,
  fillEntry: string,
  bytes: number,
  rowsPerGroup: number,
): Promise<MatmulResult> {
  const largest = gpu.isCpu ? 256 : 4096;
  // A display driver ends a kernel that takes seconds, so grow only while one product is short.
  for (let size = 256; ; size *= 2) {
    const result = await matmulOf(
      gpu,
      kernel,
      fillEntry,
      bytes,
      rowsPerGroup,
      size,
      size >= largest,
    );
    if (size >= largest || result.secondsPerProduct > 0.02) {
      return size >= largest
        ? result
        : matmulOf(gpu, kernel, fillEntry, bytes, rowsPerGroup, size, true);
    }
  }
}

async function matmulOf(
  gpu: OpenedGpu,
  kernel: DoctorKernel,
  fillEntry: string,
  bytes: number,
  rowsPerGroup: number,
  size: number,
  final: boolean,
): Promise<MatmulResult> {
  const { device } = gpu;
  const operands: GPUBuffer[] = [];
  for (const SEED of seeds) {
    const buffer = await storage(device, size * size * bytes);
    operands.push(buffer);
    await run(
      device,
      await launch(
        device,
        fillKernel,
        { SEED },
        fillEntry,
        [buffer],
        fold((size * size * bytes) / 4 / 256),
      ),
      1,
    );
  }
  const out = await storage(device, size * size * 4);
  const product = await launch(
    device,
    kernel,
    { SIZE: size },
    'matmul',
    [...operands, out],
    [size / 128, size / rowsPerGroup],
  );
  let secondsPerProduct: number;
  if (final) {
    secondsPerProduct = await timeDispatch(gpu, product);
  } else {
    await run(device, product, 1);
    secondsPerProduct = await run(device, product, 1);
  }
  const relativeError = await compare(device, out, size);
  for (const buffer of [...operands, out]) buffer.destroy();
  if (!(relativeError < 1e-2)) {
    throw new NumericError(
      `${kernel.name} of size ${size} is wrong by ${relativeError} on ${gpu.adapterName}; update its driver`,
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
async function compare(device: GPUDevice, out: GPUBuffer, size: number): Promise<number> {
  let difference = 0;
  let norm = 0;
  for (const row of [0, Math.floor(size / 3), size - 1]) {
    const c = new Float32Array(await readBack(device, out, row * size * 4, size * 4));
    for (let col = 0; col < size; col += Math.floor(size / 16) - 1) {
      let sum = 0;
      for (let k = 0; k < size; k++)
        sum += filledValue(row * size + k, seeds[0]) * filledValue(k * size + col, seeds[1]);
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
    await launch(device, fillKernel, { SEED: 1 }, 'fill_f32', [from], fold(bytes / 4 / 256)),
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
