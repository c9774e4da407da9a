/** Attention over pages against attention over the same keys in a packed batch, bit for bit. */
import type { AttentionArgs } from '@realhf/api';
import { expect } from 'vitest';

import { upload } from '../../testing/device-data.js';
import { normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { pagedAttention, writePages } from './paged-attention.js';

const [nHeads, nKvHeads, headDim, pageSize] = [4, 2, 16, 4];
const [columns, width] = [nKvHeads * headDim, nHeads * headDim];

/** Pages of each sequence in random places of a pool, with some to spare. */
function shuffledPages(lengths: readonly number[], rand: () => number) {
  const counts = lengths.map((n) => Math.ceil(n / pageSize));
  const total = counts.reduce((a, b) => a + b, 0) + 3;
  const free = Array.from({ length: total }, (_, i) => i);
  for (let i = total - 1; i > 0; i--) {
    const j = Math.floor(rand() * (i + 1));
    [free[i], free[j]] = [free[j]!, free[i]!];
  }
  const perLine = Math.max(...counts) + 1;
  const table = new Uint32Array(lengths.length * perLine).fill(0xffff);
  counts.forEach((n, s) => {
    for (let p = 0; p < n; p++) table[s * perLine + p] = free.pop()!;
  });
  return { total, table, perLine };
}

export interface PagedCase {
  readonly lengths: readonly number[];
  readonly window: number | undefined;
}

/** `packed` computes what is wanted; all queries at once, and the last of each sequence as in decoding. */
export async function expectPaged(
  r: Recorder,
  { lengths, window }: PagedCase,
  packed: (r: Recorder, a: AttentionArgs) => void,
  form?: 'workgroups' | 'invocations',
): Promise<void> {
  const rand = random(3);
  const t = lengths.reduce((a, b) => a + b, 0);
  const [q, k, v] = [normal(t * width, rand), normal(t * columns, rand), normal(t * columns, rand)];
  const ranges: number[] = [];
  const rows: number[] = [];
  let begin = 0;
  lengths.forEach((n, s) => {
    for (let i = 0; i < n; i++) {
      ranges.push(begin + Math.max(0, i + 1 - (window ?? Infinity)), begin + i + 1);
      rows.push(s, i + 1);
    }
    begin += n;
  });
  const dense = (data: Float32Array, stride: number) => ({
    tensor: upload(r, data),
    offset: 0,
    stride,
  });
  const heads = { nHeads, nKvHeads, headDim, scale: 0.25 };
  const want = r.alloc([t, width]);
  const [qs, ks, vs] = [dense(q, width), dense(k, columns), dense(v, columns)];
  const kvRange = upload(r, Uint32Array.from(ranges), [2 * t], 'u32');
  packed(r, { ...heads, q: qs, k: ks, v: vs, kvRange, out: want, tQ: t });

  const { total, table, perLine } = shuffledPages(lengths, rand);
  const pool = () =>
    upload(r, new Float32Array(total * pageSize * columns).fill(NaN), [total * pageSize, columns]);
  const keys = {
    kPool: pool(),
    vPool: pool(),
    pageTable: upload(r, table, [lengths.length, perLine], 'u32'),
    pageSize,
    rows: upload(r, Uint32Array.from(rows), [t, 2], 'u32'),
    rowStride: 2,
    rowOffset: 0,
  };
  writePages(r, { k: ks, v: vs, keys, count: t });
  const spec = { ...heads, keys, ...(window === undefined ? {} : { window }) };
  const out = upload(r, new Float32Array(t * width).fill(NaN), [t, width]);
  pagedAttention(r, { ...spec, q: qs, out, tQ: t }, form);
  const whole = new Float32Array(await r.read(want));
  expect(new Float32Array(await r.read(out))).toEqual(whole);

  // The last token of each sequence as in decoding: rows in the sampling state, others of the batch left out.
  const last = lengths.map((_, s) => lengths.slice(0, s + 1).reduce((a, b) => a + b, 0) - 1);
  const few = new Float32Array(lengths.length * width);
  last.forEach((i, s) => {
    few.set(q.subarray(i * width, (i + 1) * width), s * width);
  });
  const state = lengths.flatMap((n, s) => [9, 9, 9, s, n]);
  const decoded = r.alloc([lengths.length, width]);
  pagedAttention(
    r,
    {
      ...spec,
      keys: {
        ...keys,
        rows: upload(r, Uint32Array.from(state), [lengths.length, 5], 'u32'),
        rowStride: 5,
        rowOffset: 3,
      },
      q: dense(few, width),
      out: decoded,
      tQ: lengths.length,
    },
    form,
  );
  const got = new Float32Array(await r.read(decoded));
  last.forEach((i, s) => {
    expect(got.subarray(s * width, (s + 1) * width)).toEqual(
      whole.subarray(i * width, (i + 1) * width),
    );
  });
}
