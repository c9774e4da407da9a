// `npm run bench:gpu`: the tables of docs/performance.md for this machine's GPU; options in tools/src/bench-gpu/main.ts.
import { runTool } from './load.mjs';

await runTool('tools/src/bench-gpu/main.ts');
