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
