// `npm run check`: all gates, or `npm run check -- --only layers,cycles`.
import { runTool } from './load.mjs';

await runTool('tools/src/check/main.ts');
