/** Attention over key ranges in f64: plain softmax over the keys in range, and its gradient. */

export interface AttentionShape {
  readonly tQ: number;
  readonly tKv: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  /** [tQ, 2]. */
  readonly kvRange: ArrayLike<number>;
  /** kv head of q head h. */
  readonly kvHead: (h: number) => number;
  /** Multiplies the weight of a pair (dropout). Default 1. */
  readonly factor?: (t: number, h: number, key: number) => number;
}

/** q [tQ, nHeads·D], k and v [tKv, nKvHeads·D]; out like q, lse [tQ, nHeads]. */
export function attentionReference(
  s: AttentionShape,
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
) {
  const { tQ, nHeads: H, nKvHeads: G, headDim: D } = s;
  const out = new Float64Array(tQ * H * D);
  const lse = new Float64Array(tQ * H);
  /** Probabilities per (t, h), over the keys of t's range. */
  const probs: Float64Array[] = [];
  for (let t = 0; t < tQ; t++)
    for (let h = 0; h < H; h++) {
      const [begin, end] = [s.kvRange[2 * t]!, s.kvRange[2 * t + 1]!];
      const p = new Float64Array(Math.max(0, end - begin));
      for (let i = 0; i < p.length; i++) {
        let dot = 0;
        for (let d = 0; d < D; d++)
          dot += q[(t * H + h) * D + d]! * k[((begin + i) * G + s.kvHead(h)) * D + d]!;
        p[i] = dot * s.scale;
      }
      const top = p.reduce((a, b) => Math.max(a, b), -Infinity);
      const sum = p.reduce((a, x) => a + Math.exp(x - top), 0);
      if (p.length > 0) lse[t * H + h] = top + Math.log(sum);
      for (let i = 0; i < p.length; i++) {
        p[i] = Math.exp(p[i]! - lse[t * H + h]!);
        for (let d = 0; d < D; d++)
          out[(t * H + h) * D + d]! +=
            p[i]! *
            (s.factor?.(t, h, begin + i) ?? 1) *
            v[((begin + i) * G + s.kvHead(h)) * D + d]!;
      }
      probs.push(p);
    }
  return { out, lse, probs };
}

export function attentionBackwardReference(
  s: AttentionShape,
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  dOut: ArrayLike<number>,
) {
  const { tQ, tKv, nHeads: H, nKvHeads: G, headDim: D } = s;
  const { probs } = attentionReference(s, q, k, v);
  const dq = new Float64Array(tQ * H * D);
  const dk = new Float64Array(tKv * G * D);
  const dv = new Float64Array(tKv * G * D);
  for (let t = 0; t < tQ; t++)
    for (let h = 0; h < H; h++) {
      const begin = s.kvRange[2 * t]!;
      const p = probs[t * H + h]!;
      const qAt = (t * H + h) * D;
      const dp = p.map((_, i) => {
        let dot = 0;
        for (let d = 0; d < D; d++)
          dot += dOut[qAt + d]! * v[((begin + i) * G + s.kvHead(h)) * D + d]!;
        return dot * (s.factor?.(t, h, begin + i) ?? 1);
      });
      const mean = p.reduce((a, x, i) => a + x * dp[i]!, 0);
      p.forEach((x, i) => {
        const at = ((begin + i) * G + s.kvHead(h)) * D;
        const ds = x * (dp[i]! - mean) * s.scale;
        for (let d = 0; d < D; d++) {
          dq[qAt + d]! += ds * k[at + d]!;
          dk[at + d]! += ds * q[qAt + d]!;
          dv[at + d]! += x * (s.factor?.(t, h, begin + i) ?? 1) * dOut[qAt + d]!;
        }
      });
    }
  return { dq, dk, dv };
}
