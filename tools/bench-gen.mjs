// `npm run bench:gen`: speed of the generation engine on this adapter; options in tools/src/bench-gen/main.ts.
import { runTool } from './load.mjs';

await runTool('tools/src/bench-gen/main.ts');
