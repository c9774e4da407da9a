// `node tools/outputs.mjs CHECKPOINT REQUEST.json OUT.safetensors`: what the product computes from a checkpoint.
import { runTool } from './load.mjs';

await runTool('tools/src/outputs/main.ts');
