/** What a file of a user's own experiment is made of, besides schemas: docs/customization.md. */
export {
  checkReward,
  rewardSchema,
  usesRewardModel,
  type RewardOptions,
} from './rewards/options.js';
export { externalReward, rewardRole } from './rewards/external-reward.js';
export { microbatchesByName, requireOneVocabulary } from './experiments/layout.js';
export { recordsMask } from './experiments/logits-mask.js';
export { roleText } from './experiments/load-model.js';
export { grpoSpec } from './experiments/grpo.js';
export { ppoSpec } from './experiments/ppo.js';
export { sftSpec } from './experiments/sft.js';
export type { ExperimentSpec, RoleSpec } from './experiments/spec.js';
export { registerExperiment, type UserExperiment } from './user-code/experiments.js';
export { loadUserModule, provideModules } from './user-code/load.js';
export { registerDataset, type DatasetItems, type DatasetType } from './data/dataset-types.js';
