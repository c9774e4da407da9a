/**
 * PPO as a dataflow graph of model function calls, checked and drawn; no GPU is opened. The first drawing is for people,
 * the second is Mermaid for a page. Here the reference model leaves the device after its call.
 *
 * In this repository: npm run example draw-ppo-graph
 */
import { buildGraph, drawGraph, ppoMFCs } from '@realhf/dataflow';

const mfcs = ppoMFCs({ nSeqs: 128, logitsMask: true, offload: { ref: true } });
const { text, mermaid } = drawGraph(buildGraph(mfcs, { datasetKeys: ['packed_prompts'] }));
console.log(text);
console.log();
console.log(mermaid);
