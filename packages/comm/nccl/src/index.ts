export { openBridge, type Bridge, type BridgeOptions, type Lane } from './bridge.js';
export {
  ncclTensorCommunicator,
  type NcclOptions,
  type NcclTensorCommunicator,
} from './communicator.js';
export { Cuda, versionText, type CudaDevice, type PinnedMemory } from './cuda.js';
export {
  SharedMemory,
  StagedMemory,
  type BufferRange,
  type DeviceMemory,
  type Use,
} from './device-memory.js';
export { Nccl, ncclTypes, ncclVersionText, type NcclOperation } from './nccl.js';
export {
  labelToggle,
  VulkanLayer,
  withVulkanLayer,
  type BufferPlace,
  type LayerOptions,
  type VulkanDevice,
} from './vulkan-layer.js';
