// `npm run bench`: times every kernel; `npm run bench -- --help` lists the options.
import { runTool } from './load.mjs';

await runTool('tools/src/bench/main.ts');
