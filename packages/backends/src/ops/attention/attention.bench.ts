/** Attention of packed causal sequences (forward, backward) and one decode step over a cache. */
import type { AttentionBackwardArgs } from '@realhf/api';

import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { attentionBackward } from './attention-backward.js';
import { attention } from './attention.js';

export interface Shape {
  readonly sequences: number;
  readonly length: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
}

/** `queries` last tokens of each sequence attend causally. */
export function attentionInputs(r: Recorder, s: Shape, queries: number): AttentionBackwardArgs {
  const rand = random(1);
  const { sequences: N, length: L, nHeads: H, nKvHeads: G, headDim: D } = s;
  const [tQ, tKv] = [N * queries, N * L];
  const kv = new Uint32Array(2 * tQ);
  const q = new Uint32Array(2 * tKv);
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < queries; i++)
      kv.set([n * L, n * L + L - queries + i + 1], 2 * (n * queries + i));
    for (let i = 0; i < L; i++)
      q.set([n * queries + Math.max(0, i - L + queries), (n + 1) * queries], 2 * (n * L + i));
  }
  const strided = (rows: number, heads: number) => ({
    tensor: upload(r, normal(rows * heads * D, rand)),
    offset: 0,
    stride: heads * D,
  });
  // Gradients of keys and values in one tensor, as in a fused qkv.
  const dKv = r.alloc([tKv, 2 * G * D]);
  return {
    q: strided(tQ, H),
    k: strided(tKv, G),
    v: strided(tKv, G),
    dq: strided(tQ, H),
    dk: { tensor: dKv, offset: 0, stride: 2 * G * D },
    dv: { tensor: dKv, offset: G * D, stride: 2 * G * D },
    kvRange: upload(r, kv, [tQ, 2], 'u32'),
    qRange: upload(r, q, [tKv, 2], 'u32'),
    out: r.alloc([tQ, H * D]),
    lse: r.alloc([tQ, H]),
    dOut: upload(r, normal(tQ * H * D, rand)),
    tQ,
    tKv,
    nHeads: H,
    nKvHeads: G,
    headDim: D,
    scale: 1 / Math.sqrt(D),
  };
}

const name = (s: Shape) =>
  `${s.sequences}×${s.length} tokens, ${s.nHeads}/${s.nKvHeads} heads of ${s.headDim}`;
const small: Shape = { sequences: 32, length: 64, nHeads: 4, nKvHeads: 4, headDim: 16 };
const wide: Shape = { sequences: 4, length: 128, nHeads: 8, nKvHeads: 2, headDim: 64 };

/** Forward and backward of whole sequences. */
export function trainingBenches(s: Shape): Bench[] {
  const pairs = (s.sequences * s.nHeads * s.length * (s.length + 1)) / 2;
  return [
    {
      name: `attention ${name(s)}`,
      flops: 4 * pairs * s.headDim,
      setup: (r) => {
        const a = attentionInputs(r, s, s.length);
        return () => {
          attention(r, a);
        };
      },
    },
    {
      name: `attention backward ${name(s)}`,
      // Two products recomputed in each of dq and dkv, one for dq, two for dk and dv.
      flops: 14 * pairs * s.headDim,
      setup: (r) => {
        const a = attentionInputs(r, s, s.length);
        attention(r, a);
        return () => {
          attentionBackward(r, a);
        };
      },
    },
  ];
}

/** One new query per sequence over a cache of `length` keys. */
export const decodeBench = (s: Shape): Bench => ({
  name: `attention decode ${name(s)}`,
  flops: 4 * s.sequences * s.length * s.nHeads * s.headDim,
  bytes: 8 * s.sequences * s.length * s.nKvHeads * s.headDim,
  setup: (r) => {
    const a = attentionInputs(r, s, 1);
    return () => {
      attention(r, a);
    };
  },
});

export const benches: Bench[] = [
  ...trainingBenches(small),
  ...trainingBenches(wide),
  decodeBench({ ...small, length: 256 }),
];
