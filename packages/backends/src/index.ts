export { learningRate } from './engine/lr-schedule.js';
export { NetworkEngine } from './engine/network-engine.js';
export { sequenceSeeds } from './engine/seeds.js';
export {
  inferenceSchedule,
  trainSchedule,
  type Instruction,
  type PipelineStep,
} from './engine/pipeline-schedule.js';
export { AdamEngine } from './engine/train-engine.js';
export {
  recutState,
  stateMaps,
  type DataPart,
  type StateMaps,
  type TrainState,
} from './engine/zero.js';
export { header, kernels, type Kernel } from './webgpu/kernel.js';
export {
  openBrowserGpu,
  type BrowserGpu,
  type OpenBrowserGpuOptions,
} from './webgpu/open-browser-gpu.js';
export { Recorder, type RecorderOptions } from './webgpu/recorder.js';
export { type UsedLimits } from './webgpu/request-device.js';
export { WebGpuOps } from './webgpu-ops.js';
export { supportsF16Matmul } from './webgpu/subgroup-matrix.js';
