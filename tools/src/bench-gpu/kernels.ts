/** Timings of single operations at the sizes of 1.1B and 7B models, by the wall clock of many runs a submit. */
import type { AttentionBackwardArgs, MatmulArgs, Tensor } from '@realhf/api';
import type { WebGpuOps } from '@realhf/backends';

import { digits, ratio, type Peer } from './table.js';

const noise = Float32Array.from({ length: 1 << 18 }, () => 2 * (Math.random() - 0.5));

const blocks = new WeakMap<WebGpuOps, Tensor>();

/** A tensor of noise, copied on the device: the card stays warm. */
export function filled(ops: WebGpuOps, shape: readonly number[]): Tensor {
  let block = blocks.get(ops);
  if (!block) blocks.set(ops, (block = ops.fromHost(noise, [noise.length])));
  const t = ops.empty(shape);
  for (let at = 0; at < t.size; at += noise.length)
    ops.copy(block, t, Math.min(noise.length, t.size - at), 0, at);
  return t;
}

/** Seconds of one run: the median of five times `times` of them, after a warm-up. */
export async function seconds(ops: WebGpuOps, times: number, run: () => void): Promise<number> {
  const once = async () => {
    await ops.sync();
    const start = performance.now();
    for (let i = 0; i < times; i++) run();
    await ops.sync();
    return (performance.now() - start) / 1000 / times;
  };
  const until = performance.now() + 100;
  do await once();
  while (performance.now() < until);
  const samples: number[] = [];
  for (let i = 0; i < 5; i++) samples.push(await once());
  return samples.sort((a, b) => a - b)[2]!;
}

/** Brings the clocks up. */
export async function warm(ops: WebGpuOps, ms = 1500): Promise<void> {
  const [a, out] = [filled(ops, [2048, 2048]), ops.empty([2048, 2048])];
  const until = performance.now() + ms;
  while (performance.now() < until) {
    for (let i = 0; i < 20; i++) ops.matmul({ a, b: a, out });
    await ops.sync();
  }
  ops.free(a, out);
}

const sizes = [
  [4096, 4096, 4096],
  [4096, 2048, 2048],
  [4096, 2560, 2048],
  [4096, 11264, 2048],
  [4096, 2048, 5632],
  [4096, 32000, 2048],
  [4096, 12288, 4096],
  [4096, 22016, 4096],
  [4096, 4096, 11008],
] as const;

/** Products with a weight [n, k]: forward, gradient of the input, gradient of the weight; packing is in them. */
export async function productRows(f32: WebGpuOps, f16: WebGpuOps, peer: Peer): Promise<string[][]> {
  const rows: string[][] = [];
  await warm(f16);
  for (const [m, n, k] of sizes) {
    const tflops: Record<string, [number, number]> = { NT: [0, 0], NN: [0, 0], TN: [0, 0] };
    for (const [i, ops] of [f32, f16].entries()) {
      const [x, w, y] = [filled(ops, [m, k]), filled(ops, [n, k]), filled(ops, [m, n])];
      const [dx, dw] = [ops.empty([m, k]), ops.zeros([n, k])];
      const kinds: Record<string, MatmulArgs> = {
        NT: { a: x, b: w, out: y, transB: true },
        NN: { a: y, b: w, out: dx },
        TN: { a: y, b: x, out: dw, transA: true, accumulate: true },
      };
      for (const [kind, args] of Object.entries(kinds)) {
        const s = await seconds(ops, i === 0 ? 3 : 10, () => {
          ops.matmul(args);
        });
        tflops[kind]![i] = (2 * m * n * k) / s / 1e12;
      }
      ops.free(x, w, y, dx, dw);
    }
    for (const [kind, [a, b]] of Object.entries(tflops)) {
      const cublas = peer.matmul?.[`f16 ${kind} ${m}x${n}x${k}`];
      const what = { NT: 'forward', NN: 'input gradient', TN: 'weight gradient' }[kind]!;
      rows.push([
        `${m} × ${n} × ${k}, ${what}`,
        digits(a),
        digits(b, 0),
        digits(cublas, 0),
        ratio(b, cublas),
      ]);
    }
  }
  return rows;
}

/** 64 rows by weights that lie in memory and not in a cache. */
export async function decodeRows(ops: WebGpuOps, peer: Peer): Promise<string[][]> {
  const rows: string[][] = [];
  for (const [n, k] of [
    [2048, 2048],
    [11264, 2048],
    [2048, 5632],
    [32000, 2048],
  ] as const) {
    const [x, y] = [filled(ops, [64, k]), ops.empty([64, n])];
    const weights = Array.from({ length: Math.min(20, Math.ceil(2e8 / (n * k))) }, () =>
      filled(ops, [n, k]),
    );
    let turn = 0;
    const s = await seconds(ops, 1000, () => {
      ops.matmul({ a: x, b: weights[turn++ % weights.length]!, out: y, transB: true });
    });
    const cublas = peer.matmul?.[`f16 NT 64x${n}x${k}`];
    rows.push([
      `64 × ${n} × ${k}`,
      digits(s * 1e6),
      digits((2 * n * k) / s / 1e9, 0),
      digits(cublas && (2 * 64 * n * k) / cublas / 1e6),
    ]);
    ops.free(x, y, ...weights);
  }
  return rows;
}

function attentionArgs(
  ops: WebGpuOps,
  [sequences, L, H, G, D]: readonly [number, number, number, number, number],
): AttentionBackwardArgs {
  const T = sequences * L;
  const stride = (H + 2 * G) * D;
  const [kv, q] = [new Uint32Array(2 * T), new Uint32Array(2 * T)];
  for (let t = 0; t < T; t++) {
    const begin = t - (t % L);
    kv.set([begin, t + 1], 2 * t);
    q.set([t, begin + L], 2 * t);
  }
  const views = (tensor: Tensor) =>
    [0, H * D, (H + G) * D].map((offset) => ({ tensor, offset, stride }));
  const [a, b, c] = views(filled(ops, [T, stride]));
  const [da, db, dc] = views(ops.empty([T, stride]));
  return {
    q: a!,
    k: b!,
    v: c!,
    dq: da!,
    dk: db!,
    dv: dc!,
    kvRange: ops.fromHost(kv, [T, 2], 'u32'),
    qRange: ops.fromHost(q, [T, 2], 'u32'),
    out: ops.empty([T, H * D]),
    lse: ops.empty([T, H]),
    dOut: filled(ops, [T, H * D]),
    tQ: T,
    tKv: T,
    nHeads: H,
    nKvHeads: G,
    headDim: D,
    scale: 1 / Math.sqrt(D),
  };
}

/** Causal attention of packed sequences; backward counts 14 operations a pair and column, as recomputation needs. */
export async function attentionRows(ops: WebGpuOps, peer: Peer): Promise<string[][]> {
  const rows: string[][] = [];
  for (const shape of [
    [32, 512, 32, 4, 64],
    [32, 512, 32, 32, 128],
    [4, 4096, 32, 4, 64],
    [4, 4096, 32, 32, 128],
  ] as const) {
    const [n, L, H, G, D] = shape;
    const args = attentionArgs(ops, shape);
    const pairs = (n * H * L * (L + 1)) / 2;
    const forward = await seconds(ops, 5, () => {
      ops.attention(args);
    });
    const backward = await seconds(ops, 5, () => {
      ops.attentionBackward(args);
    });
    const flash = peer.attention?.[`${n}x${L} ${H}/${G} ${D}`];
    const [f, b] = [(4 * pairs * D) / forward / 1e12, (14 * pairs * D) / backward / 1e12];
    rows.push([
      `${n} × ${L} tokens, ${H}/${G} heads of ${D}`,
      digits(f),
      digits(flash?.fwd_tflops, 0),
      ratio(f, flash?.fwd_tflops),
      digits(b),
      digits(flash?.bwd_tflops, 0),
      ratio(b, flash?.bwd_tflops),
    ]);
    ops.free(
      args.q.tensor,
      args.dq.tensor,
      args.kvRange,
      args.qRange,
      args.out,
      args.lse,
      args.dOut,
    );
  }
  return rows;
}
