export { initParams, initStd, initValues } from './params/init.js';
export {
  paramAlignment,
  shardMap,
  sliceIntervals,
  stageSpecs,
  type ShardMapOptions,
} from './params/shard-map.js';
export { replicaMaps, segmentElements, unsharedParams } from './params/replica-maps.js';
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
export type { ElementRange } from './params/local-runs.js';
export { configFromHf, configToHf, familyOfHf, hfFamilies } from './hf/families.js';
export type { HfConfig, HfFamily, TensorMapping } from './hf/family.js';
export {
  streamWeightsFromHf,
  weightsFromHf,
  weightsToHf,
  type HfTensor,
  type StreamWeightsOptions,
  type TensorSource,
  type WeightsFromHfOptions,
} from './hf/weights.js';
export {
  GenerationEngine,
  type EngineCounts,
  type GenerationEngineOptions,
} from './generation/generation-engine.js';
export { encodeKept, joinKept, keptBits, keptCount, keptOffsets } from './generation/kept-sets.js';
export type {
  FinishReason,
  GeneratedSequence,
  GenerationRequest,
  TokenEvent,
} from './generation/request.js';
export type { Generation } from './generation/running-sequence.js';
export { loraScale, loraTargets, type LoraConfig, type LoraTarget } from './lora/config.js';
export { mergedParams } from './lora/merge.js';
export { loraSpecs } from './lora/specs.js';
export { ReaLModel, type ReaLModelOptions } from './real-model.js';
export { causalRanges, positionsOf } from './transformer/batch.js';
export { ropeFrequencies, ropeTable } from './transformer/rope-table.js';
export { registerInterfaces } from './interfaces/register.js';
export { SftInterface } from './interfaces/sft.js';
export { PairedRewardInterface } from './interfaces/paired-rw.js';
export {
  EnvironmentInterface,
  type Environment,
  type EnvironmentOptions,
  type EnvironmentStep,
} from './interfaces/environment.js';
export {
  ExternalRewardInterface,
  type ExternalRewardOptions,
  type RewardBatch,
  type RewardSource,
} from './interfaces/external-reward.js';
export { DpoInterface, dpoOptionsSchema, type DpoInterfaceOptions } from './interfaces/dpo.js';
export { GrpoInterface, type GrpoInterfaceOptions } from './interfaces/grpo.js';
export { RlooInterface, type RlooInterfaceOptions } from './interfaces/rloo.js';
export { RemaxInterface, type RemaxInterfaceOptions } from './interfaces/remax.js';
export { RaftInterface, type RaftInterfaceOptions } from './interfaces/raft.js';
export {
  SimpoInterface,
  simpoOptionsSchema,
  type SimpoInterfaceOptions,
} from './interfaces/simpo.js';
export { PpoActorInterface, type PpoInterfaceOptions } from './interfaces/ppo-actor.js';
export { PpoCriticInterface, type PpoCriticOptions } from './interfaces/ppo-critic.js';
export { rollout, type RolloutOptions } from './interfaces/rollout.js';
export { dpoLoss, type DpoLossOptions } from './losses/dpo.js';
export { grpoLoss, type GrpoLossOptions } from './losses/grpo.js';
export type { KlEstimator } from './losses/kl.js';
export {
  policyLoss,
  type LossAveraging,
  type PolicyLossOptions,
  type RatioLevel,
} from './losses/policy.js';
export { simpoLoss, type SimpoLossOptions } from './losses/simpo.js';
export { pairedRewardLoss } from './losses/paired-rw.js';
export {
  ppoActorLoss,
  ppoCriticLoss,
  type PpoActorLossOptions,
  type PpoCriticLossOptions,
} from './losses/ppo.js';
export { sftLoss } from './losses/sft.js';
export { grpoOptionsSchema, grpoPpoOptionsSchema, type GrpoOptions } from './grpo/options.js';
export { prepareGrpo, type PreparedGrpo, type PrepareGroupOptions } from './grpo/prepare.js';
export { raftOptionsSchema } from './raft/options.js';
export { remaxOptionsSchema } from './remax/options.js';
export { prepareRemax, type PrepareRemaxOptions } from './remax/prepare.js';
export { rlooOptionsSchema, rlooPpoOptionsSchema } from './rloo/options.js';
export { gae, type GaeInput } from './ppo/gae.js';
export { KlController, type KlControllerOptions } from './ppo/kl-controller.js';
export { PpoMemory, type PpoState } from './ppo/memory.js';
export { ppoOptionsSchema, type PpoOptions } from './ppo/options.js';
export { preparePpo, type PreparedPpo } from './ppo/prepare.js';
export { ValueNorm, type ValueNormOptions, type ValueNormState } from './ppo/value-norm.js';
