export { learningRate } from './engine/lr-schedule.js';
export { NetworkEngine } from './engine/network-engine.js';
export { sequenceSeeds } from './engine/seeds.js';
export { AdamEngine, type TrainState } from './engine/train-engine.js';
export { header, kernels, type Kernel } from './webgpu/kernel.js';
export { Recorder, type RecorderOptions } from './webgpu/recorder.js';
export { WebGpuOps } from './webgpu-ops.js';
export { supportsF16Matmul } from './webgpu/subgroup-matrix.js';
