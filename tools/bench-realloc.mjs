// `npm run bench:realloc`: speed of parameter reallocation on this adapter; options in tools/src/bench-realloc/main.ts.
import { runTool } from './load.mjs';

await runTool('tools/src/bench-realloc/main.ts');
