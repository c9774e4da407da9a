export { initParams, initStd, initValues } from './params/init.js';
export {
  paramAlignment,
  shardMap,
  sliceIntervals,
  stageSpecs,
  type ShardMapOptions,
} from './params/shard-map.js';
export { hasOwnHead, paramCount, paramSpecs } from './params/specs.js';
export { stageLayers } from './params/stage-layers.js';
export {
  checkTensorParallel,
  headsOf,
  shardRule,
  type ParamSlice,
  type Part,
  type Range,
} from './params/tensor-slices.js';
export { configFromHf, configToHf, familyOfHf, hfFamilies } from './hf/families.js';
export type { HfConfig, HfFamily, TensorMapping } from './hf/family.js';
export {
  weightsFromHf,
  weightsToHf,
  type HfTensor,
  type TensorSource,
  type WeightsFromHfOptions,
} from './hf/weights.js';
