// Compiles every WGSL kernel in every variant without a GPU. Exit code 1 and one line a problem where any is wrong.
import { runTool } from './load.mjs';

await runTool('tools/src/compile-wgsl/main.ts');
