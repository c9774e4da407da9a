/**
 * Timing of kernels. A card that idles runs its first kernels 3 to 5 times too slow, so hardware is kept busy for
 * 1.5 s first; then the median of five passes counts, by the device's own clock where it has one.
 */
import type { OpenedGpu } from '@realhf/backends/node';
import { DeviceError } from '@realhf/api';

import { shaderText, type DoctorKernel } from './kernels.js';

/** One dispatch, ready to repeat. */
export interface Launch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  /** Workgroups in x and y. */
  readonly grid: readonly [number, number];
}

/** A storage buffer of `bytes`; throws DeviceError when the device has no room for it. */
export async function storage(device: GPUDevice, bytes: number): Promise<GPUBuffer> {
  device.pushErrorScope('out-of-memory');
  device.pushErrorScope('validation');
  const buffer = device.createBuffer({
    size: bytes,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  const error = (await device.popErrorScope()) ?? (await device.popErrorScope());
  if (error)
    throw new DeviceError(`no buffer of ${bytes} bytes: ${error.message.split('\n')[0] ?? ''}`);
  return buffer;
}

/** Compiles a kernel and binds buffers 0, 1, …; throws DeviceError with the compiler's words. */
export async function launch(
  device: GPUDevice,
  kernel: DoctorKernel,
  constants: Readonly<Record<string, number>>,
  entryPoint: string,
  buffers: readonly GPUBuffer[],
  grid: readonly [number, number],
): Promise<Launch> {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({
    code: shaderText(kernel, constants),
    label: kernel.name,
  });
  let pipeline: GPUComputePipeline;
  try {
    pipeline = await device.createComputePipelineAsync({
      layout: 'auto',
      compute: { module, entryPoint },
    });
  } catch (cause) {
    throw new DeviceError(
      `${kernel.name} does not compile: ${cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : ''}`,
      { cause },
    );
  } finally {
    await device.popErrorScope();
  }
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  return {
    pipeline,
    group: device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }),
    grid,
  };
}

/** Runs it `times` in one pass and waits. @returns seconds for all of them, by the device's clock where `clock` is given. */
export async function run(
  device: GPUDevice,
  { pipeline, group, grid }: Launch,
  times: number,
  clock?: Clock,
): Promise<number> {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass(
    clock
      ? {
          timestampWrites: {
            querySet: clock.queries,
            beginningOfPassWriteIndex: 0,
            endOfPassWriteIndex: 1,
          },
        }
      : {},
  );
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  for (let i = 0; i < times; i++) pass.dispatchWorkgroups(grid[0], grid[1]);
  pass.end();
  if (clock) {
    encoder.resolveQuerySet(clock.queries, 0, 2, clock.resolved, 0);
    encoder.copyBufferToBuffer(clock.resolved, 0, clock.back, 0, 16);
  }
  const start = performance.now();
  device.queue.submit([encoder.finish()]);
  await device.queue.onSubmittedWorkDone();
  const wall = (performance.now() - start) / 1000;
  if (!clock) return wall;
  await clock.back.mapAsync(GPUMapMode.READ);
  const [begin, end] = new BigUint64Array(clock.back.getMappedRange().slice(0));
  clock.back.unmap();
  const seconds = Number(end! - begin!) / 1e9;
  return seconds > 0 ? seconds : wall;
}

export interface Clock {
  readonly queries: GPUQuerySet;
  readonly resolved: GPUBuffer;
  readonly back: GPUBuffer;
}

/** The device's clock; undefined on a CPU, whose wall clock is as good, and without timestamp queries. */
export function deviceClock({ device, isCpu }: OpenedGpu): Clock | undefined {
  if (isCpu || !device.features.has('timestamp-query')) return undefined;
  return {
    queries: device.createQuerySet({ type: 'timestamp', count: 2 }),
    resolved: device.createBuffer({
      size: 16,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    }),
    back: device.createBuffer({
      size: 16,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    }),
  };
}

/** Seconds for one dispatch: see `median`. */
export function timeDispatch(gpu: OpenedGpu, what: Launch): Promise<number> {
  const clock = deviceClock(gpu);
  return median(gpu, (times) => run(gpu.device, what, times, clock));
}

/** Seconds for one of what `batch` runs `times` over: warm, the median of five batches of at least about 10 ms. */
export async function median(
  gpu: OpenedGpu,
  batch: (times: number) => Promise<number>,
): Promise<number> {
  // The first run pays for compiling on some drivers.
  await batch(1);
  const times = Math.max(1, Math.min(200, Math.round(0.01 / (await batch(1)))));
  const warmUntil = performance.now() + (gpu.isCpu ? 0 : 1500);
  while (performance.now() < warmUntil) await batch(times);
  const samples: number[] = [];
  for (let i = 0; i < 5; i++) samples.push((await batch(times)) / times);
  return samples.sort((x, y) => x - y)[2]!;
}

/** Reads `bytes` from `offset` back. */
export async function readBack(
  device: GPUDevice,
  buffer: GPUBuffer,
  offset: number,
  bytes: number,
): Promise<ArrayBuffer> {
  const back = device.createBuffer({
    size: bytes,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, offset, back, 0, bytes);
  device.queue.submit([encoder.finish()]);
  await back.mapAsync(GPUMapMode.READ);
  const out = back.getMappedRange().slice(0);
  back.destroy();
  return out;
}
