// `npm run test:full`: every test on every adapter of this machine, and a line in docs/test-full-log.md.
import { runTool } from './load.mjs';

await runTool('tools/src/test-full/main.ts');
