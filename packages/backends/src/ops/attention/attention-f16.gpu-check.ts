/**
 * For a machine with f16 matrices: checks attention-f16 against f64 and times it. Bundled and run as f16.gpu-check.ts of
 * matmul is; `--check` and `--time` do one of the two.
 */
import type { AttentionBackwardArgs, Tensor } from '@realhf/api';

import { openGpu } from '../../node/open-gpu.js';
import { Recorder } from '../../webgpu/recorder.js';
import { wgslHash, type GpuProof } from '../../testing/wgsl-hash.js';
import { attentionBackward } from './attention-backward.js';
import { attentionBackwardReference, attentionReference } from './attention.reference.js';
import { attention } from './attention.js';

const gpu = await openGpu();
const r = new Recorder({
  device: gpu.device,
  adapter: gpu.adapterName,
  isCpu: false,
  matmulPrecision: 'f16',
  adapterInfo: gpu.info,
});
console.log(`${gpu.adapterName}, f16 matrices: ${r.f16Matmul}`);
let failures = r.f16Matmul ? 0 : 1;
const checked: string[] = [];

/** Cheap values for timing. */
const filler = (n: number) =>
  Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 1024) / 512 - 1);
function noise(n: number, std = 1): Float32Array {
  const u = () => Math.random() - 0.5;
  return Float32Array.from({ length: n }, () => std * Math.sqrt(3) * (u() + u() + u() + u()));
}
function upload(data: Float32Array | Uint32Array): Tensor {
  const t = r.alloc([data.length], data instanceof Uint32Array ? 'u32' : 'f32');
  r.write(t, data);
  return t;
}
const download = async (t: Tensor) => new Float32Array(await r.read(t));
const error = (x: ArrayLike<number>, want: ArrayLike<number>) => {
  let [e, n] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    e += (x[i]! - want[i]!) ** 2;
    n += want[i]! ** 2;
  }
  return Math.sqrt(e / (n || 1));
};

interface Case {
  readonly lengths: readonly number[];
  readonly H: number;
  readonly G: number;
  readonly D: 64 | 128;
  readonly window?: number;
  /** Of the queries: large ones make the running maximum move. */
  readonly std?: number;
  readonly dStd?: number;
  readonly offsets?: {
    readonly group: number;
    readonly qHeadOffset: number;
    readonly kvHeadOffset: number;
  };
}

function rangesOf(lengths: readonly number[], window = Infinity) {
  const [kv, q]: [number[], number[]] = [[], []];
  let begin = 0;
  for (const n of lengths) {
    for (let i = 0; i < n; i++) {
      kv.push(begin + Math.max(0, i - window + 1), begin + i + 1);
      q.push(begin + i, begin + Math.min(n, i + window));
    }
    begin += n;
  }
  return { kv: Uint32Array.from(kv), q: Uint32Array.from(q) };
}

function make(
  c: Case,
  data: { q: Float32Array; k: Float32Array; v: Float32Array; dOut: Float32Array },
) {
  const T = c.lengths.reduce((a, b) => a + b, 0);
  const { H, G, D } = c;
  const stride = (H + 2 * G) * D;
  const qkv = new Float32Array(T * stride);
  for (let t = 0; t < T; t++) {
    qkv.set(data.q.subarray(t * H * D, (t + 1) * H * D), t * stride);
    qkv.set(data.k.subarray(t * G * D, (t + 1) * G * D), t * stride + H * D);
    qkv.set(data.v.subarray(t * G * D, (t + 1) * G * D), t * stride + (H + G) * D);
  }
  const ranges = rangesOf(c.lengths, c.window);
  const [x, dx] = [upload(qkv), upload(new Float32Array(T * stride).fill(NaN))];
  const views = (tensor: Tensor) =>
    [0, H * D, (H + G) * D].map((offset) => ({ tensor, offset, stride }));
  const [q, k, v] = views(x);
  const [dq, dk, dv] = views(dx);
  const args = {
    q: q!,
    k: k!,
    v: v!,
    dq: dq!,
    dk: dk!,
    dv: dv!,
    kvRange: upload(ranges.kv),
    qRange: upload(ranges.q),
    out: upload(new Float32Array(T * H * D).fill(NaN)),
    lse: upload(new Float32Array(T * H).fill(NaN)),
    dOut: upload(data.dOut),
    tQ: T,
    tKv: T,
    nHeads: H,
    nKvHeads: G,
    headDim: D,
    scale: 1 / Math.sqrt(D),
    ...c.offsets,
  } satisfies AttentionBackwardArgs;
  return { args, dx, ranges, T, stride };
}

const random = (c: Case, values = noise) => {
  const T = c.lengths.reduce((a, b) => a + b, 0);
  const { H, G, D } = c;
  return {
    q: values(T * H * D, c.std),
    k: values(T * G * D),
    v: values(T * G * D),
    dOut: values(T * H * D, c.dStd),
  };
};

async function check(c: Case): Promise<void> {
  const data = random(c);
  const { args, dx, ranges, T, stride } = make(c, data);
  const { H, G, D } = c;
  const { group = H / G, qHeadOffset = 0, kvHeadOffset = 0 } = c.offsets ?? {};
  const shape = {
    tQ: T,
    tKv: T,
    nHeads: H,
    nKvHeads: G,
    headDim: D,
    scale: args.scale,
    kvRange: ranges.kv,
    kvHead: (h: number) => Math.floor((h + qHeadOffset) / group) - kvHeadOffset,
  };
  attention(r, args);
  attentionBackward(r, args);
  const [out, lse, grads] = await Promise.all([args.out, args.lse, dx].map(download));
  const want = attentionReference(shape, data.q, data.k, data.v);
  const g = attentionBackwardReference(shape, data.q, data.k, data.v, data.dOut);
  const part = (offset: number, width: number) => {
    const x = new Float64Array(T * width);
    for (let t = 0; t < T; t++)
      x.set(grads!.subarray(t * stride + offset, t * stride + offset + width), t * width);
    return x;
  };
  const errors = [
    error(out!, want.out),
    error(lse!, want.lse),
    error(part(0, H * D), g.dq),
    error(part(H * D, G * D), g.dk),
    error(part((H + G) * D, G * D), g.dv),
  ];
  // Again: the same bits.
  attention(r, args);
  attentionBackward(r, args);
  const [again, gradsAgain] = await Promise.all([args.out, dx].map(download));
  const equal =
    again!.every((x, i) => x === out![i]) && gradsAgain!.every((x, i) => x === grads![i]);
  // Of one token the gradients of q and k are 0: what is left is rounding.
  const limit = c.std ? 1e-2 : T === 1 ? 2e-2 : 2e-3;
  const ok = equal && errors.every((e) => e < limit);
  if (!ok) failures++;
  checked.push(
    `${JSON.stringify(c)}: out, lse, dq, dk, dv ${errors.map((e) => e.toExponential(1)).join(' ')}`,
  );
  console.log(
    `${ok ? 'ok  ' : 'FAIL'} ${JSON.stringify(c)}: out, lse, dq, dk, dv ${errors.map((e) => e.toExponential(1)).join(' ')}${equal ? '' : ', a rerun differs'}`,
  );
}

/** A sequence has the same bits alone and behind others. */
async function alone(D: 64 | 128): Promise<void> {
  const c: Case = { lengths: [37, 150], H: 4, G: 2, D };
  const data = random(c);
  const both = make(c, data);
  const only = make(
    { ...c, lengths: [150] },
    {
      q: data.q.slice(37 * 4 * D),
      k: data.k.slice(37 * 2 * D),
      v: data.v.slice(37 * 2 * D),
      dOut: data.dOut.slice(37 * 4 * D),
    },
  );
  attention(r, both.args);
  attention(r, only.args);
  const [x, y] = await Promise.all([both.args.out, only.args.out].map(download));
  const equal = y!.every((e, i) => e === x![37 * 4 * D + i]);
  if (!equal) failures++;
  console.log(`${equal ? 'ok  ' : 'FAIL'} a sequence alone and behind another, heads of ${D}`);
  checked.push(`a sequence alone and behind another, heads of ${D}: ${equal}`);
}

if (!process.argv.includes('--time')) {
  for (const D of [64, 128] as const) {
    await check({ lengths: [1], H: 1, G: 1, D });
    await check({ lengths: [5, 1, 70, 2, 65], H: 3, G: 3, D });
    await check({ lengths: [130, 200], H: 8, G: 1, D });
    await check({ lengths: [64, 128], H: 10, G: 2, D, dStd: 1e-7 });
    await check({ lengths: [100, 33], H: 4, G: 2, D, std: 12 });
    await check({ lengths: [150, 6], H: 2, G: 1, D, window: 40 });
    await check({
      lengths: [90],
      H: 3,
      G: 2,
      D,
      offsets: { group: 2, qHeadOffset: 3, kvHeadOffset: 1 },
    });
    await alone(D);
  }
  console.log(failures === 0 ? 'attention: all right' : `attention: ${failures} FAILURES`);
  const proof: GpuProof = {
    date: new Date().toISOString().slice(0, 10),
    adapter: gpu.adapterName,
    driver: gpu.driver,
    wgsl: await wgslHash('attention_f16'),
    failures,
    checked,
  };
  console.log(`PROOF ${JSON.stringify(proof)}`);
}

if (!process.argv.includes('--check')) {
  const seconds = async (run: () => void) => {
    const once = async (times: number) => {
      await r.sync();
      const start = performance.now();
      for (let i = 0; i < times; i++) run();
      await r.sync();
      return (performance.now() - start) / 1000 / times;
    };
    const until = performance.now() + 1000;
    while (performance.now() < until) await once(5);
    const s = [await once(10), await once(10), await once(10)];
    return s.sort((a, b) => a - b)[1]!;
  };
  for (const [n, L] of [
    [32, 512],
    [4, 4096],
  ] as const)
    for (const [H, G, D] of [
      [32, 4, 64],
      [32, 32, 128],
    ] as const) {
      const c: Case = { lengths: Array.from({ length: n }, () => L), H, G, D };
      const { args, dx } = make(c, random(c, filler));
      const pairs = (n * H * L * (L + 1)) / 2;
      const fwd = await seconds(() => {
        attention(r, args);
      });
      const bwd = await seconds(() => {
        attentionBackward(r, args);
      });
      console.log(
        `${n}×${L} ${H}/${G} heads of ${D}: forward ${(fwd * 1e3).toFixed(2)} ms ${((4 * pairs * D) / fwd / 1e12).toFixed(1)} TFLOP/s, backward ${(bwd * 1e3).toFixed(2)} ms ${((14 * pairs * D) / bwd / 1e12).toFixed(1)} TFLOP/s`,
      );
      for (const t of [args.q.tensor, dx, args.out, args.lse, args.dOut, args.kvRange, args.qRange])
        r.free(t);
    }
}
r.destroy();
process.exit(failures === 0 ? 0 : 1);
