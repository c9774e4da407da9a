// `npm run bench:model`: speed of a whole model on this adapter; options in tools/src/bench-model/main.ts.
import { runTool } from './load.mjs';

await runTool('tools/src/bench-model/main.ts');
