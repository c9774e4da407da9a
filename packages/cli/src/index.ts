/** The library behind the `real` command: options, run directories, checkpoints, datasets. Node only. */
export * from './options/command.js';
export { parseOptions, splitArguments, type Arguments, type Parsed } from './options/parse.js';
export * from './options/schemas/common.js';
export * from './options/schemas/dataset.js';
export * from './options/schemas/mfc.js';
export * from './options/schemas/model.js';
export * from './options/schemas/ppo.js';
export * from './options/schemas/rw.js';
export * from './options/schemas/sft.js';
export * from './run-cli.js';
