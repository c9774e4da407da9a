// Sums vitest's JSON report and that of `npm run check -- --json` for .ci/run.
import { runTool } from './load.mjs';

await runTool('tools/src/count-tests/main.ts');
