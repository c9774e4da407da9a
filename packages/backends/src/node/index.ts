export { createInstance, type InstanceOptions } from './dawn.js';
export {
  subgroupMatrixConfigs,
  subgroupMatrixFeature,
  type SubgroupMatrixConfig,
} from '../webgpu/subgroup-matrix.js';
export {
  adapterChoices,
  openGpu,
  openNullGpu,
  testAdapters,
  type AdapterChoice,
  type AdapterKind,
  type OpenedGpu,
  type OpenGpuOptions,
} from './open-gpu.js';
export { type UsedLimits } from '../webgpu/request-device.js';
export { defaultCacheDir } from './swiftshader.js';
