/**
 * Trains train.ts under Node, on the best adapter that there is.
 *
 * In this repository: npm run example sft/node
 * Elsewhere: npm install @realhf/backends @realhf/model webgpu
 */
import { WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';

import { train } from './train.js';

const gpu = await openGpu();
const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
console.log(`training on ${ops.adapter}`);
const losses = await train(ops, 10);
losses.forEach((loss, i) => {
  console.log(`step ${i + 1} loss ${loss.toFixed(6)}`);
});
ops.destroy();
