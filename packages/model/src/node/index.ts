/** Node-only part of @realhf/model: checkpoint folders, safetensors files, tokenizers. */
export {
  companionFiles,
  readCheckpointConfig,
  readCheckpointDir,
  writeCheckpointDir,
  type Checkpoint,
  type CheckpointOptions,
  type WriteCheckpointOptions,
} from './checkpoint-dir.js';
export { readPeftConfig, readPeftDir, writePeftDir, type WritePeftOptions } from './peft.js';
export { replaceDir } from './replace-dir.js';
export {
  SafetensorsFile,
  streamSafetensors,
  writeSafetensors,
  type SafetensorsTensor,
} from './safetensors.js';
export { loadTokenizer } from './tokenizer.js';
export { openWeights, writeWeights, type OpenWeights, type SaveDType } from './weights-dir.js';
