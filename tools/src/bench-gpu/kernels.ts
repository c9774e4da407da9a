/** Timings of single operations at the sizes of 1.1B and 7B models, by the wall clock of many runs a submit. */
import type { AttentionBackwardArgs, MatmulArgs, Tensor } from '@realhf/api';
import type { WebGpuOps } from '@realhf/backends';

import { digits, ratio, type Peer } from './table.js';

const noise = Float32Array.from({ length: 1 << 18 }, () => 2 * (Math.random() - 0.5));

function filled(ops: WebGpuOps, shape: readonly number[]): Tensor {
  const t = ops.empty(shape);
  for (let at = 0; at < t.size; at += noise.length)
    ops.write(t, noise.subarray(0, Math.min(noise.length, t.size - at)), at);
  return t;
}

/** Seconds of one run: the median of five times `times` of them, after a warm-up. */
async function seconds(ops: WebGpuOps, times: number, run: () => void): Promise<number> {
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
async function warm(ops: WebGpuOps): Promise<void> {
  const [a, out] = [filled(ops, [2048, 2048]), ops.empty([2048, 2048])];
  const until = performance.now() + 1500;
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

/** Bytes that must move, over the time, at the sizes of 8,192 tokens of a 1.1B model. */
export async function memoryRows(ops: WebGpuOps): Promise<string[][]> {
  const [T, H, I, V, P] = [8192, 2048, 5632, 32000, 1 << 27];
  const [x, y, dx] = [filled(ops, [T, H]), ops.empty([T, H]), ops.zeros([T, H])];
  const [weight, dWeight, stats] = [filled(ops, [H]), ops.zeros([H]), ops.empty([T, 2])];
  const [gateUp, act, dGateUp] = [
    filled(ops, [T, 2 * I]),
    ops.empty([T, I]),
    ops.empty([T, 2 * I]),
  ];
  const [qkv, cosSin] = [filled(ops, [T, 2560]), filled(ops, [2048, 64])];
  const positions = ops.zeros([T], 'u32');
  const logits = filled(ops, [2048, V]);
  const labels = ops.zeros([2048], 'i32');
  const [logProbs, lse] = [ops.zeros([2048]), ops.empty([2048])];
  const [param, grad, m, v] = [ops.zeros([P]), ops.zeros([P]), ops.zeros([P]), ops.zeros([P])];
  const [one, squares] = [ops.zeros([1]), ops.zeros([1])];
  const head = { logits, labels, temperature: 1, lse };
  const norm = { x, weight, kind: 'rms', eps: 1e-5, stats } as const;
  const heads = { rows: T, nHeads: 36, headDim: 64, rotaryDim: 64, positions, cosSin };
  const adam = { lr: 1e-5, beta1: 0.9, beta2: 0.95, eps: 1e-5, weightDecay: 0, step: 1 };
  const works: [string, number, () => void][] = [
    [
      'copy',
      8 * P,
      () => {
        ops.copy(param, grad);
      },
    ],
    [
      'fill',
      4 * P,
      () => {
        ops.fill(grad, 0);
      },
    ],
    [
      'norm',
      8 * T * H,
      () => {
        ops.norm({ ...norm, out: y });
      },
    ],
    [
      'norm backward',
      16 * T * H,
      () => {
        ops.normBackward({ ...norm, dOut: y, dx, dWeight, accumulate: true });
      },
    ],
    [
      'rope',
      8 * T * 36 * 64,
      () => {
        ops.rope({ ...heads, x: { tensor: qkv, offset: 0, stride: 2560 } });
      },
    ],
    [
      'gated activation',
      12 * T * I,
      () => {
        ops.gatedActivation('silu', gateUp, act);
      },
    ],
    [
      'gated activation backward',
      20 * T * I,
      () => {
        ops.gatedActivationBackward('silu', gateUp, act, dGateUp);
      },
    ],
    [
      'log-probs',
      4 * 2048 * V,
      () => {
        ops.logProbs({ ...head, logProbs });
      },
    ],
    [
      'log-probs backward',
      8 * 2048 * V,
      () => {
        ops.logProbsBackward({ ...head, dLogProbs: logProbs, dLogits: logits });
      },
    ],
    [
      'sum of squares',
      4 * P,
      () => {
        ops.sumSquares(grad, squares, 0);
      },
    ],
    [
      'AdamW',
      28 * P,
      () => {
        ops.adam({ ...adam, param, grad, m, v, begin: 0, end: P, gradScale: one });
      },
    ],
  ];
  const rows: string[][] = [];
  for (const [name, bytes, run] of works) {
    const rate = bytes / (await seconds(ops, 20, run)) / 1e9;
    // 2,940: what the best copy kernel moves on an H100.
    rows.push([name, digits(rate, 0), digits(rate / 2940, 2)]);
  }
  return rows;
}
