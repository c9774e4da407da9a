/** A router, its Sinkhorn bias, the sort, the grouped products and the sum over copies, in plain f64 loops, with gradients. */
import type { MoeScores } from '@realhf/api';

const none = 0xffffffff;

function softmax(x: readonly number[]): number[] {
  const top = Math.max(...x);
  const p = x.map((v) => Math.exp(v - top));
  const sum = p.reduce((a, b) => a + b, 0);
  return p.map((v) => v / sum);
}
const lseOf = (x: readonly number[]) => {
  const top = Math.max(...x);
  return top + Math.log(x.reduce((s, v) => s + Math.exp(v - top), 0));
};
const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
const rowOfMatrix = (m: ArrayLike<number>, t: number, n: number) =>
  Array.from({ length: n }, (_, e) => m[t * n + e]!);

/** Chosen experts [t, k] and weights [t, k] of logits [t, n]. */
export function routeReference(
  logits: ArrayLike<number>,
  n: number,
  k: number,
  scores: MoeScores,
  bias: ArrayLike<number> = new Float64Array(n),
): { experts: number[]; probs: number[] } {
  const experts: number[] = [];
  const probs: number[] = [];
  for (let t = 0; t < logits.length / n; t++) {
    const x = rowOfMatrix(logits, t, n);
    const order = x.map((_, e) => e);
    order.sort((a, b) => x[b]! + bias[b]! - (x[a]! + bias[a]!) || a - b);
    const chosen = order.slice(0, k);
    const all = softmax(x);
    const own = softmax(chosen.map((e) => x[e]!));
    experts.push(...chosen);
    probs.push(
      ...chosen.map((e, j) =>
        scores === 'selected' ? own[j]! : scores === 'all' ? all[e]! : sigmoid(x[e]!),
      ),
    );
  }
  return { experts, probs };
}

/** [t, n + 1]: softmax over all ‖ lse². */
export function statisticsReference(logits: ArrayLike<number>, n: number): number[] {
  return Array.from({ length: logits.length / n }, (_, t) => {
    const x = rowOfMatrix(logits, t, n);
    return [...softmax(x), lseOf(x) ** 2];
  }).flat();
}

export interface RouteGradients {
  readonly experts: ArrayLike<number>;
  readonly dProbs: ArrayLike<number>;
  readonly counts: ArrayLike<number>;
  readonly auxScale: number;
  readonly zScale: number;
}

/** Σ probs·dProbs + auxScale·Σ_e counts_e Σ_t softmax_e + zScale·Σ_t lse², with the choice held. */
export function routeObjective(
  logits: ArrayLike<number>,
  n: number,
  k: number,
  scores: MoeScores,
  g: RouteGradients,
): number {
  let sum = 0;
  for (let t = 0; t < logits.length / n; t++) {
    const x = rowOfMatrix(logits, t, n);
    const chosen = rowOfMatrix(g.experts, t, k);
    const all = softmax(x);
    const own = softmax(chosen.map((e) => x[e]!));
    chosen.forEach((e, j) => {
      const p = scores === 'selected' ? own[j]! : scores === 'all' ? all[e]! : sigmoid(x[e]!);
      sum += p * g.dProbs[t * k + j]!;
    });
    all.forEach((q, e) => (sum += g.auxScale * g.counts[e]! * q));
    sum += g.zScale * lseOf(x) ** 2;
  }
  return sum;
}

/** Gradient of routeObjective. */
export function routeBackwardReference(
  logits: ArrayLike<number>,
  n: number,
  k: number,
  scores: MoeScores,
  g: RouteGradients,
): Float64Array {
  const out = new Float64Array(logits.length);
  for (let t = 0; t < logits.length / n; t++) {
    const x = rowOfMatrix(logits, t, n);
    const chosen = rowOfMatrix(g.experts, t, k);
    const d = rowOfMatrix(g.dProbs, t, k);
    const all = softmax(x);
    const own = softmax(chosen.map((e) => x[e]!));
    // Of softmax over all: what its entries get.
    const dq = x.map((_, e) => g.auxScale * g.counts[e]!);
    const meanOwn = own.reduce((s, p, j) => s + p * d[j]!, 0);
    chosen.forEach((e, j) => {
      const s = sigmoid(x[e]!);
      if (scores === 'selected') out[t * n + e]! += own[j]! * (d[j]! - meanOwn);
      else if (scores === 'sigmoid') out[t * n + e]! += s * (1 - s) * d[j]!;
      else dq[e]! += d[j]!;
    });
    const mean = all.reduce((s, q, e) => s + q * dq[e]!, 0);
    all.forEach((q, e) => {
      out[t * n + e]! += q * (dq[e]! - mean) + 2 * g.zScale * lseOf(x) * q;
    });
  }
  return out;
}

/** d1·cost·d0 of the Sinkhorn scaling as Megatron-LM states it, [t, n]. */
export function sinkhornReference(logits: ArrayLike<number>, n: number): Float64Array {
  const rows = logits.length / n;
  const cost = Float64Array.from(logits, Math.exp);
  const d0 = new Float64Array(rows).fill(1);
  let d1 = new Float64Array(n).fill(1);
  for (let change = Infinity; change > 1e-4;) {
    for (let t = 0; t < rows; t++) {
      let sum = 0;
      for (let e = 0; e < n; e++) sum += d1[e]! * cost[t * n + e]!;
      d0[t] = 1 / (rows * (sum + 1e-8));
    }
    const next = d1.map((_, e) => {
      let sum = 0;
      for (let t = 0; t < rows; t++) sum += d0[t]! * cost[t * n + e]!;
      return 1 / (n * (sum + 1e-8));
    });
    change = next.reduce((s, v, e) => s + Math.abs(v - d1[e]!), 0) / n;
    d1 = next;
  }
  return cost.map((c, i) => c * d1[i % n]! * d0[Math.floor(i / n)]!);
}

/** The sort of copies of experts [t, k]; with a capacity, which copies of an expert stay. */
export function sortReference(
  experts: readonly number[],
  n: number,
  k: number,
  capacity?: { copies: number; policy: 'probs' | 'position' },
  probs: ArrayLike<number> = [],
): { rowOf: number[]; tokenOf: number[]; offsets: number[]; counts: number[] } {
  const rowOf = experts.map(() => none);
  const tokenOf: number[] = [];
  const offsets: number[] = [];
  const counts: number[] = [];
  const dropped: number[] = [];
  for (let e = 0; e < n; e++) {
    const copies = experts.flatMap((x, c) => (x === e ? [c] : []));
    counts.push(copies.length);
    offsets.push(tokenOf.length);
    let kept = copies;
    if (capacity) {
      const ranked = [...copies];
      if (capacity.policy === 'probs') ranked.sort((a, b) => probs[b]! - probs[a]! || a - b);
      kept = ranked.slice(0, capacity.copies).sort((a, b) => a - b);
      dropped.push(...ranked.slice(capacity.copies));
    }
    for (const c of kept) {
      rowOf[c] = tokenOf.length;
      tokenOf.push(Math.floor(c / k));
    }
  }
  offsets.push(tokenOf.length);
  dropped.sort((a, b) => a - b);
  return {
    rowOf,
    tokenOf: [...tokenOf, ...dropped.map((c) => Math.floor(c / k))],
    offsets,
    counts,
  };
}

/** out [t, dim] = Σ_j weights[t, j]·rows[rowOf[t, j]]. */
export function combineReference(
  rows: ArrayLike<number>,
  rowOf: ArrayLike<number>,
  weights: ArrayLike<number>,
  k: number,
  dim: number,
): Float64Array {
  const out = new Float64Array((rowOf.length / k) * dim);
  for (let c = 0; c < rowOf.length; c++) {
    if (rowOf[c] === none) continue;
    for (let i = 0; i < dim; i++)
      out[Math.floor(c / k) * dim + i]! += weights[c]! * rows[rowOf[c]! * dim + i]!;
  }
  return out;
}

export function combineBackwardReference(
  rows: ArrayLike<number>,
  rowOf: ArrayLike<number>,
  weights: ArrayLike<number>,
  dOut: ArrayLike<number>,
  k: number,
  dim: number,
): { dRows: Float64Array; dWeights: Float64Array } {
  const dRows = new Float64Array(rows.length);
  const dWeights = new Float64Array(rowOf.length);
  for (let c = 0; c < rowOf.length; c++) {
    if (rowOf[c] === none) continue;
    for (let i = 0; i < dim; i++) {
      const d = dOut[Math.floor(c / k) * dim + i]!;
      dRows[rowOf[c]! * dim + i] = weights[c]! * d;
      dWeights[c]! += d * rows[rowOf[c]! * dim + i]!;
    }
  }
  return { dRows, dWeights };
}
