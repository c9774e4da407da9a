/**
 * From an adapter to a device with all that the kernels use: a device gets the lowest limits of the standard
 * (128 MiB bindings, 16 KiB workgroup memory) unless the adapter's own are asked for by name.
 */
import { DeviceError } from '@realhf/api';

import { subgroupMatrixFeature } from './subgroup-matrix.js';

/** Limits that the kernels look at; bytes, invocations, buffers, workgroups. */
export const usedLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupsPerDimension',
] as const;

/** The limits that kernels look at, as the device has them. */
export type UsedLimits = Readonly<Record<(typeof usedLimits)[number], number>>;

/** Features that the kernels use where they exist. */
export const usedFeatures: readonly GPUFeatureName[] = [
  'timestamp-query',
  'shader-f16',
  'subgroups',
  'subgroup-size-control',
  subgroupMatrixFeature,
];

/** What the device that was made has. */
export interface RequestedDevice {
  readonly device: GPUDevice;
  readonly features: readonly string[];
  readonly limits: UsedLimits;
}

/**
 * @param f16 true: required; false: not asked for; undefined: where it exists.
 * @param onError told of validation and out-of-memory errors that no scope caught, and of a device that was lost
 *   (not of one that was destroyed on purpose).
 */
export async function requestDevice(
  adapter: GPUAdapter,
  f16: boolean | undefined,
  onError: (error: DeviceError) => void,
): Promise<RequestedDevice> {
  const name = adapterName(adapter.info);
  if (f16 === true && !adapter.features.has('shader-f16')) {
    throw new DeviceError(
      `f16 was asked for, ${name} has no shader-f16; use dtype f32 or another adapter`,
    );
  }
  const features = usedFeatures.filter(
    (feature) =>
      adapter.features.has(feature) &&
      (f16 !== false || (feature !== 'shader-f16' && feature !== subgroupMatrixFeature)),
  );
  const requiredLimits: Record<string, number> = {};
  for (const limit of usedLimits) requiredLimits[limit] = adapter.limits[limit];
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
  } catch (cause) {
    throw new DeviceError(`${name} gave no device: ${firstLine(cause)}`, { cause });
  }
  device.addEventListener('uncapturederror', (event) => {
    // It is told below; Dawn would print it on stderr as well.
    event.preventDefault();
    const { error } = event;
    const kind = error instanceof GPUOutOfMemoryError ? 'is out of memory' : 'reports an error';
    onError(new DeviceError(`${name} ${kind}: ${firstLine(error)}`));
  });
  void device.lost.then((info) => {
    if (info.reason !== 'destroyed')
      onError(new DeviceError(`${name} was lost (${info.reason}): ${firstLine(info)}`));
  });
  const limits = Object.fromEntries(
    usedLimits.map((limit) => [limit, device.limits[limit]]),
  ) as unknown as UsedLimits;
  return { device, features, limits };
}

/** The adapter's own words for itself. */
export function adapterName(info: GPUAdapterInfo): string {
  return info.device || info.description || info.vendor || 'null adapter';
}

function firstLine(of: unknown): string {
  const message =
    typeof of === 'object' && of !== null && 'message' in of ? String(of.message) : String(of);
  return message.split('\n')[0] ?? '';
}
