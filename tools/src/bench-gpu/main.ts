/**
 * `npm run bench:gpu`: the tables of docs/performance.md for the GPU of this machine, as Markdown. What PyTorch does on the
 * same card stands beside them where `--peer FILE` names what peer.py wrote (`python3 tools/src/bench-gpu/peer.py FILE`,
 * in the same hour: cards differ). `--models f16,f32` names the precisions of whole models (default f16; none: -).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';

import { benchModel } from '../bench-model/main.js';
import { attentionRows, decodeRows, productRows } from './kernels.js';
import { memoryRows } from './memory.js';
import { table, type Peer } from './table.js';

export async function main(_root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peer: { type: 'string' },
      out: { type: 'string' },
      models: { type: 'string', default: 'f16' },
    },
  });
  const peer = (values.peer ? JSON.parse(readFileSync(values.peer, 'utf8')) : {}) as Peer;
  const gpu = await openGpu();
  const opsOf = (matmulPrecision: 'f32' | 'f16') =>
    new WebGpuOps({
      device: gpu.device,
      adapter: gpu.adapterName,
      isCpu: gpu.isCpu,
      matmulPrecision,
      adapterInfo: gpu.info,
    });
  const [f32, f16] = [opsOf('f32'), opsOf('f16')];
  const versions = peer.torch ? `; beside it PyTorch ${peer.torch} on ${peer.device ?? '?'}` : '';
  const text = [
    `${gpu.adapterName}, ${gpu.driver}, ${new Date().toISOString().slice(0, 16)}, Node ${process.version}${versions}`,
    table(
      [
        'product (rows × columns × k)',
        'f32, TFLOP/s',
        'f16, TFLOP/s',
        'cuBLAS f16',
        'f16 / cuBLAS',
      ],
      await productRows(f32, f16, peer),
    ),
    table(
      ['64 rows (a decode step)', 'f16, µs', 'weights, GB/s', 'cuBLAS f16, µs'],
      await decodeRows(f16, peer),
    ),
    table(
      ['attention', 'forward, TFLOP/s', 'flash', 'ratio', 'backward, TFLOP/s', 'flash', 'ratio'],
      await attentionRows(f16, peer),
    ),
    table(['bound by memory', 'GB/s', 'of the copy rate', 'floor: 0.8'], await memoryRows(f16)),
  ];
  // The models open the device anew.
  f16.destroy();
  for (const precision of values.models.split(',').filter((x) => x !== '-')) {
    const skip = precision === 'f32' ? 'generate' : '';
    const args1b = ['--shape', '1b', '--precision', precision, '--skip', skip];
    const timings = await benchModel(args1b);
    text.push(
      table(
        [`1.1B llama, ${precision}`, 'tokens/s', 'TFLOP/s', 'peak GiB', 'PyTorch bf16, tokens/s'],
        timings.map((t) => [
          t.name,
          t.tokensPerSecond.toFixed(0),
          t.tflops.toFixed(1),
          (t.peak / 2 ** 30).toFixed(1),
          peer.model?.[t.name]?.toFixed(0) ?? '',
        ]),
      ),
    );
  }
  const all = text.join('\n\n');
  console.log(all);
  if (values.out !== undefined) writeFileSync(values.out, `${all}\n`);
  return 0;
}
