// `npm run bench:comm`: times the socket communicator between two processes; `-- --help` lists the options.
import { runTool } from './load.mjs';

await runTool('tools/src/bench-comm/main.ts');
