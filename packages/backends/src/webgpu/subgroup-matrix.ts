/**
 * The parts of Dawn that `@webgpu/types` does not know: the f16 matrix feature and its list of shapes.
 * They exist only with the `allow_unsafe_apis` toggle, and only on hardware (the null adapter has the feature, with no shapes).
 */

/** The feature as Dawn names it; WGSL: `enable chromium_experimental_subgroup_matrix`. */
export const subgroupMatrixFeature = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;

/** One matrix product that a subgroup can do: `result[M, N] += left[M, K] · right[K, N]`. */
export interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Matrix shapes of an adapter or device; empty where it has none. */
export function subgroupMatrixConfigs(info: GPUAdapterInfo): readonly SubgroupMatrixConfig[] {
  const { subgroupMatrixConfigs: configs } = info as GPUAdapterInfo & {
    readonly subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig>;
  };
  return configs ? [...configs] : [];
}

/** Workgroup memory of the hungriest tile of ops/matmul/f16.wgsl: 64 and 32 rows of 128 k, half as much again, and 8 patches of 16×20 f32. */
const f16TileBytes = (64 + 32) * 128 * 3 + 8 * 16 * 20 * 4;

/**
 * Can this device run the f16 matmul: 16×16×16 with f16 operands and f32 sums, subgroups of 32, room for its tiles?
 * `adapterInfo` is the adapter's: Dawn lists matrix shapes there, not on the device.
 */
export function supportsF16Matmul(
  device: GPUDevice,
  adapterInfo: GPUAdapterInfo = device.adapterInfo,
): boolean {
  const { features, limits } = device;
  return (
    features.has('shader-f16') &&
    features.has(subgroupMatrixFeature) &&
    adapterInfo.subgroupMinSize === 32 &&
    adapterInfo.subgroupMaxSize === 32 &&
    limits.maxComputeInvocationsPerWorkgroup >= 256 &&
    limits.maxComputeWorkgroupStorageSize >= f16TileBytes &&
    subgroupMatrixConfigs(adapterInfo).some(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === 'f16' &&
        resultComponentType === 'f32' &&
        M === 16 &&
        N === 16 &&
        K === 16,
    )
  );
}
