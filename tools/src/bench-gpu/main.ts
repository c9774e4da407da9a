/**
 * `npm run bench:gpu`: the tables of docs/performance.md for the GPU of this machine, as Markdown, with floors met or missed.
 * What PyTorch does on the same card stands beside them: of `--peer FILE`, else of peer.py, which runs first where python3 has
 * torch and transformers (`--no-peer` leaves it out). `--parts products,decode,attention,memory,models,gpt2,ppo` picks tables,
 * `--models f16,f32` the precisions of whole models, `--shape tiny` another than 1b; `--loss-curve DIR` does that alone,
 * `--trace FILE` keeps the PPO iteration for ui.perfetto.dev.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { WebGpuOps } from '@realhf/backends';
import { openGpu, type OpenedGpu } from '@realhf/backends/node';

import { benchModel } from '../bench-model/main.js';
import { attentionRows, decodeRows, productRows } from './kernels.js';
import { lossCurve } from './loss-curve.js';
import { memoryRows } from './memory.js';
import { benchPpo, ppoRows } from './ppo.js';
import { digits, ratio, table, verdict, type Peer } from './table.js';
import { ppoTrace } from './trace.js';

/** Tokens per second. */
const gpt2Floor = 27000;
/** Of the peer's speed. */
const modelFloors: Readonly<Record<string, number>> = { generate: 1, inference: 0.7, train: 0.7 };

export async function main(root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peer: { type: 'string' },
      'no-peer': { type: 'boolean', default: false },
      out: { type: 'string' },
      parts: { type: 'string', default: 'products,decode,attention,memory,models,gpt2,ppo' },
      models: { type: 'string', default: 'f16' },
      shape: { type: 'string', default: '1b' },
      trace: { type: 'string' },
      'loss-curve': { type: 'string' },
      steps: { type: 'string', default: '500' },
    },
  });
  if (values['loss-curve'] !== undefined) {
    await lossCurve(values['loss-curve'], Number(values.steps));
    return 0;
  }
  const parts = new Set(values.parts.split(','));
  const peer = readPeer(root, values.peer, !values['no-peer']);
  const gpu = await openGpu();
  const versions = peer.torch ? `; beside it PyTorch ${peer.torch} on ${peer.device ?? '?'}` : '';
  const text = [
    `${gpu.adapterName}, ${gpu.driver}, ${new Date().toISOString().slice(0, 16)}, Node ${process.version}${versions}`,
    ...(await kernelTables(gpu, parts, peer)),
  ];
  // The models open the device anew.
  if (parts.has('models'))
    for (const precision of values.models.split(',').filter((x) => x !== '-'))
      text.push(await modelTable(precision, values.shape, peer));
  if (parts.has('gpt2')) text.push(await gpt2Table(peer));
  if (parts.has('ppo')) text.push(await ppoTable(values.shape, peer, values.trace));
  const all = text.join('\n\n');
  console.log(all);
  if (values.out !== undefined) writeFileSync(values.out, `${all}\n`);
  return 0;
}

/** What the file says, else what peer.py measures now, else nothing. */
function readPeer(root: string, file: string | undefined, run: boolean): Peer {
  if (file !== undefined) return JSON.parse(readFileSync(file, 'utf8')) as Peer;
  if (!run) return {};
  const directory = mkdtempSync(join(tmpdir(), 'bench-gpu-'));
  try {
    const out = join(directory, 'peer.json');
    const script = join(root, 'tools/src/bench-gpu/peer.py');
    const { status } = spawnSync('python3', [script, out, '--generate'], { stdio: 'ignore' });
    if (status === 0) return JSON.parse(readFileSync(out, 'utf8')) as Peer;
    console.error('no peer: python3 with torch and transformers did not run peer.py on this GPU');
    return {};
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function kernelTables(
  gpu: OpenedGpu,
  parts: ReadonlySet<string>,
  peer: Peer,
): Promise<string[]> {
  const opsOf = (matmulPrecision: 'f32' | 'f16') =>
    new WebGpuOps({
      device: gpu.device,
      adapter: gpu.adapterName,
      isCpu: gpu.isCpu,
      matmulPrecision,
      adapterInfo: gpu.info,
    });
  const [f32, f16] = [opsOf('f32'), opsOf('f16')];
  const text: string[] = [];
  if (parts.has('products'))
    text.push(
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
    );
  if (parts.has('decode'))
    text.push(
      table(
        ['64 rows (a decode step)', 'f16, µs', 'weights, GB/s', 'cuBLAS f16, µs'],
        await decodeRows(f16, peer),
      ),
    );
  if (parts.has('attention'))
    text.push(
      table(
        ['attention', 'forward, TFLOP/s', 'flash', 'ratio', 'backward, TFLOP/s', 'flash', 'ratio'],
        await attentionRows(f16, peer),
      ),
    );
  if (parts.has('memory'))
    text.push(
      table(
        ['bound by memory', 'GB/s', 'of the copy rate', 'floor: 0.8'],
        await memoryRows(f16, peer.copy_gb_s),
      ),
    );
  f16.destroy();
  return text;
}

async function modelTable(precision: string, shape: string, peer: Peer): Promise<string> {
  const skip = precision === 'f32' ? 'generate' : '';
  const timings = await benchModel(['--shape', shape, '--precision', precision, '--skip', skip]);
  return table(
    [
      `llama of shape ${shape}, ${precision}`,
      'tokens/s',
      'TFLOP/s',
      'peak GiB',
      'PyTorch bf16, tokens/s',
      'ratio',
      'floor',
    ],
    timings.map((t) => {
      const beside = peer.model?.[t.name];
      return [
        t.name,
        t.tokensPerSecond.toFixed(0),
        t.tflops.toFixed(1),
        (t.peak / 2 ** 30).toFixed(1),
        digits(beside, 0),
        ratio(t.tokensPerSecond, beside),
        verdict(t.tokensPerSecond, beside, modelFloors[t.name] ?? 0),
      ];
    }),
  );
}

/** Train steps of GPT-2 Medium. */
async function gpt2Table(peer: Peer): Promise<string> {
  const rows: string[][] = [];
  for (const sequences of [1, 16]) {
    const args = ['--shape', 'gpt2-medium', '--precision', 'f16', '--skip', 'generate,inference'];
    // A quarter of the batch is trained.
    const [timing] = await benchModel([...args, '--batch', `${4 * sequences}`]);
    const rate = timing!.tokensPerSecond;
    const beside = peer.model?.[`gpt2-medium train ${sequences}`];
    const met = verdict(rate, gpt2Floor, 1);
    rows.push([`${sequences} × 512`, rate.toFixed(0), digits(beside, 0), ratio(rate, beside), met]);
  }
  return table(
    ['GPT-2 Medium, train', 'tokens/s', 'PyTorch bf16', 'ratio', `floor: ${gpt2Floor}`],
    rows,
  );
}

async function ppoTable(shape: string, peer: Peer, trace: string | undefined): Promise<string> {
  const gpu = await openGpu();
  const ops = new WebGpuOps({
    device: gpu.device,
    adapter: gpu.adapterName,
    isCpu: gpu.isCpu,
    matmulPrecision: 'f16',
    adapterInfo: gpu.info,
  });
  const small = shape !== '1b';
  const options = {
    shape,
    batch: small ? 8 : 64,
    promptTokens: small ? 8 : 256,
    newTokens: small ? 8 : 256,
    minibatches: 4,
    maxTokensPerMb: 4096,
    checkpointing: true,
    iterations: 2,
  };
  const parts = await benchPpo(ops, options);
  const rows = ppoRows(parts, options, ops.memory().peak, peer);
  ops.destroy();
  if (trace !== undefined) writeFileSync(trace, `${JSON.stringify(ppoTrace(parts))}\n`);
  return table(
    ['PPO iteration, four models', 's', 'GPU idle', 'PyTorch bf16, s', 'ratio', 'floor: 0.7'],
    rows,
  );
}
