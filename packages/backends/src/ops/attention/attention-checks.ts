/** What the tests of attention share: cases, and the two properties that every form of the kernels must have. */
import type { AttentionArgs, AttentionBackwardArgs, Tensor } from '@realhf/api';
import { expect } from 'vitest';

import { normal, random, relativeError } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import {
  attentionBackwardReference,
  attentionReference,
  type AttentionShape,
} from './attention.reference.js';

export const rand = random(7);

/** Causal ranges of packed sequences. */
function packedRanges(lengths: readonly number[], window = Infinity) {
  const kv: number[] = [];
  const q: number[] = [];
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

export interface Case {
  readonly name: string;
  readonly lengths: readonly number[];
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly window?: number;
  readonly qHeadOffset?: number;
  readonly kvHeadOffset?: number;
  readonly group?: number;
}
export const cases: Case[] = [
  { name: 'one token', lengths: [1], nHeads: 1, nKvHeads: 1, headDim: 4 },
  { name: 'packed', lengths: [5, 1, 13, 2], nHeads: 3, nKvHeads: 3, headDim: 8 },
  { name: 'four queries at a time', lengths: [150, 3, 200], nHeads: 3, nKvHeads: 1, headDim: 4 },
  { name: 'grouped heads', lengths: [7, 11], nHeads: 6, nKvHeads: 2, headDim: 16 },
  { name: 'window', lengths: [17, 6], nHeads: 2, nKvHeads: 1, headDim: 12, window: 5 },
  {
    // Rank 1 of 2 of a model with 6 q heads in groups of 2: local heads 3, 4, 5 use kv heads 1, 2, 2.
    name: 'a rank whose group is split',
    lengths: [9],
    nHeads: 3,
    nKvHeads: 2,
    headDim: 8,
    qHeadOffset: 3,
    kvHeadOffset: 1,
    group: 2,
  },
];

export function setup(c: Case) {
  const T = c.lengths.reduce((a, b) => a + b, 0);
  const { nHeads: H, nKvHeads: G, headDim: D } = c;
  const ranges = packedRanges(c.lengths, c.window);
  const group = c.group ?? H / G;
  const shape = {
    tQ: T,
    tKv: T,
    nHeads: H,
    nKvHeads: G,
    headDim: D,
    scale: 1 / Math.sqrt(D),
    kvRange: ranges.kv,
    kvHead: (h: number) => Math.floor((h + (c.qHeadOffset ?? 0)) / group) - (c.kvHeadOffset ?? 0),
  };
  const q = normal(T * H * D, rand, 1.5);
  const k = normal(T * G * D, rand);
  const v = normal(T * G * D, rand);
  const dOut = normal(T * H * D, rand);
  return { T, shape, ranges, q, k, v, dOut };
}

/** [T, (H + 2G)·D] of q ‖ k ‖ v rows. */
function fuse(T: number, parts: readonly Float32Array[]): Float32Array {
  const widths = parts.map((p) => p.length / T);
  const width = widths.reduce((a, b) => a + b, 0);
  const out = new Float32Array(T * width);
  let at = 0;
  parts.forEach((p, i) => {
    const w = widths[i]!;
    for (let t = 0; t < T; t++) out.set(p.subarray(t * w, (t + 1) * w), t * width + at);
    at += w;
  });
  return out;
}

function upload(r: Recorder, data: Float32Array | Uint32Array): Tensor {
  const t = r.alloc([data.length], data instanceof Uint32Array ? 'u32' : 'f32');
  r.write(t, data);
  return t;
}

const poisoned = (n: number) => new Float32Array(n).fill(NaN);

export type Forward = (r: Recorder, args: AttentionArgs) => void;
export type Backward = (r: Recorder, args: AttentionBackwardArgs) => void;

/** Output, log-sum-exp and all gradients against f64; a rerun and separate gradient tensors bit-equal. */
export async function expectAttention(
  r: Recorder,
  c: Case,
  forward: Forward,
  backward: Backward,
  factor?: AttentionShape['factor'],
): Promise<void> {
  const { T, shape: plain, ranges, q, k, v, dOut } = setup(c);
  const shape = factor ? { ...plain, factor } : plain;
  const { nHeads: H, nKvHeads: G, headDim: D } = c;
  const stride = (H + 2 * G) * D;
  const qkv = upload(r, fuse(T, [q, k, v]));
  const dQkv = upload(r, poisoned(T * stride));
  const [dK, dV] = [upload(r, poisoned(T * G * D)), upload(r, poisoned(T * G * D))];
  const args = {
    q: { tensor: qkv, offset: 0, stride },
    k: { tensor: qkv, offset: H * D, stride },
    v: { tensor: qkv, offset: (H + G) * D, stride },
    kvRange: upload(r, ranges.kv),
    qRange: upload(r, ranges.q),
    out: upload(r, poisoned(T * H * D)),
    lse: upload(r, poisoned(T * H)),
    dOut: upload(r, dOut),
    tQ: T,
    tKv: T,
    nHeads: H,
    nKvHeads: G,
    headDim: D,
    scale: shape.scale,
    dq: { tensor: dQkv, offset: 0, stride },
    dk: { tensor: dQkv, offset: H * D, stride },
    dv: { tensor: dQkv, offset: (H + G) * D, stride },
    ...(c.group === undefined
      ? {}
      : { group: c.group, qHeadOffset: c.qHeadOffset!, kvHeadOffset: c.kvHeadOffset! }),
  } satisfies AttentionBackwardArgs;
  forward(r, args);
  const want = attentionReference(shape, q, k, v);
  const out = new Float32Array(await r.read(args.out));
  expect(relativeError(out, want.out)).toBeLessThan(1e-6);
  const lse = new Float32Array(await r.read(args.lse));
  expect(relativeError(lse, want.lse)).toBeLessThan(1e-6);

  backward(r, args);
  const grads = new Float32Array(await r.read(dQkv));
  const g = attentionBackwardReference(shape, q, k, v, dOut);
  const f32 = (a: Float64Array) => Float32Array.from(a);
  expect(relativeError(grads, fuse(T, [f32(g.dq), f32(g.dk), f32(g.dv)]))).toBeLessThan(3e-6);
  // dk and dv in tensors of their own; a rerun is bit-equal.
  backward(r, {
    ...args,
    dk: { tensor: dK, offset: 0, stride: G * D },
    dv: { tensor: dV, offset: 0, stride: G * D },
  });
  const again = new Float32Array(await r.read(dQkv));
  expect(again).toEqual(grads);
  const apart = fuse(T, [new Float32Array(await r.read(dK)), new Float32Array(await r.read(dV))]);
  for (let t = 0; t < T; t++)
    expect(apart.subarray(t * 2 * G * D, (t + 1) * 2 * G * D)).toEqual(
      grads.subarray(t * stride + H * D, (t + 1) * stride),
    );
}

/** A query decoded over a cache, alone or with others, gives the bits that it gives among T packed ones. */
export async function expectDecode(
  r: Recorder,
  T: number,
  packedForward: Forward,
  decodeForward: Forward,
): Promise<void> {
  // Sequences that start off the kernels' blocks.
  const [H, G, D] = [4, 2, 16];
  const starts = [0, 5, 30];
  const q = normal(T * H * D, rand);
  const k = normal(T * G * D, rand);
  const v = normal(T * G * D, rand);
  const common = { nHeads: H, nKvHeads: G, headDim: D, scale: 0.25 };
  const run = async (
    rows: readonly number[],
    shift: number,
    ranges: readonly number[],
    layout: { kvRangeStride?: number; kvRangeOffset?: number } = {},
  ): Promise<Float32Array> => {
    const n = rows.length;
    const out = upload(r, poisoned(n * H * D));
    const queries = new Float32Array(n * H * D);
    rows.forEach((t, i) => {
      queries.set(q.subarray(t * H * D, (t + 1) * H * D), i * H * D);
    });
    const cache = (x: Float32Array) => {
      const padded = new Float32Array((T + shift) * G * D).fill(9);
      padded.set(x, shift * G * D);
      return { tensor: upload(r, padded), offset: 0, stride: G * D };
    };
    (n === T ? packedForward : decodeForward)(r, {
      ...common,
      q: { tensor: upload(r, queries), offset: 0, stride: H * D },
      k: cache(k),
      v: cache(v),
      kvRange: upload(r, Uint32Array.from(ranges)),
      ...layout,
      out,
      tQ: n,
    });
    return new Float32Array(await r.read(out));
  };
  const begin = (t: number) => Math.max(...starts.filter((x) => x <= t));
  const all = Array.from({ length: T }, (_, t) => t);
  const packed = await run(
    all,
    0,
    all.flatMap((t) => [begin(t), t + 1]),
  );
  // Decode reads ranges from the sampling state: five words a row, the last two of them.
  const decoded = [0, 4, 6, 29, 30, 33, 40, T - 1];
  const state = decoded.flatMap((t) => [7, 7, 7, 37 + begin(t), 37 + t + 1]);
  const batch = await run(decoded, 37, state, { kvRangeStride: 5, kvRangeOffset: 3 });
  for (const [i, t] of decoded.entries()) {
    const row = packed.subarray(t * H * D, (t + 1) * H * D);
    expect(batch.subarray(i * H * D, (i + 1) * H * D)).toEqual(row);
    const alone = await run([t], 37, [37 + begin(t), 37 + t + 1]);
    expect(alone).toEqual(row);
  }
  const empty = await run([3], 0, [5, 5]);
  expect(empty.every((x) => x === 0)).toBe(true);
}
