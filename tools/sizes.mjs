// `npm run sizes`: installs the packed packages and writes what each brings into its README.
import { runTool } from './load.mjs';

await runTool('tools/src/compose/main.ts');
