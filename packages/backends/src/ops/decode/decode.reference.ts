/** A decode step in f64: what decoder.ts computes, without its roundings to f16. */
type Rows = readonly Float64Array[];

/** Weights as arrays, [out][in]. */
interface LayerValues {
  readonly attnNorm: Float32Array;
  readonly qkv: Float32Array;
  readonly qkvBias?: Float32Array | undefined;
  readonly o: Float32Array;
  readonly mlpNorm: Float32Array;
  readonly gateUp: Float32Array;
  readonly down: Float32Array;
  /** [rows of the pool, nKvHeads·headDim]; the step's own keys and values are put there. */
  readonly kPool: Float32Array;
  readonly vPool: Float32Array;
}
export interface DecodeValues {
  readonly hidden: number;
  readonly inner: number;
  readonly vocab: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly eps: number;
  readonly gemma: boolean;
  readonly window: number;
  readonly activation: (v: number) => number;
  readonly embedding: Float32Array;
  readonly embeddingScale: number;
  readonly finalNorm: Float32Array;
  readonly head: Float32Array;
  readonly layers: readonly LayerValues[];
  readonly ids: readonly number[];
  /** Of the token that is fed. */
  readonly positions: readonly number[];
  /** Row of the pools of key s of row r. */
  readonly keyRow: (r: number, s: number) => number;
  /** Keys of row r, its own among them. */
  readonly keys: readonly number[];
  readonly cosSin: Float32Array;
}

/** y[r] = W·x[r]. */
const times = (x: Rows, w: Float32Array, n: number): Rows =>
  x.map((row) =>
    Float64Array.from({ length: n }, (_, j) => {
      let sum = 0;
      for (let k = 0; k < row.length; k++) sum += row[k]! * w[j * row.length + k]!;
      return sum;
    }),
  );

/** Logits [rows][vocab]. */
export function decodeReference(v: DecodeValues): Rows {
  const { headDim: d, nHeads, nKvHeads } = v;
  const half = d / 2;
  const norm = (x: Rows, g: Float32Array): Rows =>
    x.map((row) => {
      const square = row.reduce((a, y) => a + y * y, 0) / row.length;
      const s = 1 / Math.sqrt(square + v.eps);
      return row.map((y, c) => y * s * (g[c]! + (v.gemma ? 1 : 0)));
    });
  const plus = (x: Rows, y: Rows): Rows => x.map((row, r) => row.map((a, c) => a + y[r]![c]!));
  let x: Rows = v.ids.map((id) =>
    Float64Array.from(
      { length: v.hidden },
      (_, c) => v.embedding[id * v.hidden + c]! * v.embeddingScale,
    ),
  );
  for (const l of v.layers) {
    const qkv = times(norm(x, l.attnNorm), l.qkv, (nHeads + 2 * nKvHeads) * d);
    qkv.forEach((row, r) => {
      if (l.qkvBias) row.forEach((_, c) => (row[c]! += l.qkvBias![c]!));
      for (let h = 0; h < nHeads + nKvHeads; h++)
        for (let c = 0; c < half; c++) {
          const at = h * d + c;
          const cos = v.cosSin[v.positions[r]! * d + c]!;
          const sin = v.cosSin[v.positions[r]! * d + half + c]!;
          const [a, b] = [row[at]!, row[at + half]!];
          row[at] = a * cos - b * sin;
          row[at + half] = b * cos + a * sin;
        }
      const own = v.keyRow(r, v.keys[r]! - 1) * nKvHeads * d;
      l.kPool.set(row.subarray(nHeads * d, (nHeads + nKvHeads) * d), own);
      l.vPool.set(row.subarray((nHeads + nKvHeads) * d), own);
    });
    const attn = qkv.map((row, r) => {
      const out = new Float64Array(nHeads * d);
      for (let h = 0; h < nHeads; h++) {
        const kv = Math.floor(h / (nHeads / nKvHeads)) * d;
        const scores: number[] = [];
        const begin = Math.max(0, v.keys[r]! - v.window);
        for (let s = begin; s < v.keys[r]!; s++) {
          let dot = 0;
          const at = v.keyRow(r, s) * nKvHeads * d + kv;
          for (let c = 0; c < d; c++) dot += row[h * d + c]! * l.kPool[at + c]!;
          scores.push(dot * v.scale);
        }
        const most = Math.max(...scores);
        const p = scores.map((s) => Math.exp(s - most));
        const sum = p.reduce((a, b) => a + b, 0);
        p.forEach((w, i) => {
          const at = v.keyRow(r, begin + i) * nKvHeads * d + kv;
          for (let c = 0; c < d; c++) out[h * d + c]! += (w / sum) * l.vPool[at + c]!;
        });
      }
      return out;
    });
    x = plus(x, times(attn, l.o, v.hidden));
    const pre = times(norm(x, l.mlpNorm), l.gateUp, 2 * v.inner);
    const act = pre.map((row) =>
      Float64Array.from({ length: v.inner }, (_, c) => v.activation(row[c]!) * row[c + v.inner]!),
    );
    x = plus(x, times(act, l.down, v.hidden));
  }
  return times(norm(x, v.finalNorm), v.head, v.vocab);
}
