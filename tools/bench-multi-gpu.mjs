// `npm run bench:multi-gpu`: what several GPUs do together; options in tools/src/bench-multi-gpu/main.ts.
import { runTool } from './load.mjs';

await runTool('tools/src/bench-multi-gpu/main.ts');
