/** Naive f64 matrix product; its gradients are the other layouts of the same product. */

/** Adds A·B to `out` [m, n]; A is [m, k] ([k, m] if transA), B [k, n] ([n, k] if transB). */
export function matmulReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  out: Float64Array,
  m: number,
  n: number,
  k: number,
  transA = false,
  transB = false,
): Float64Array {
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++)
        sum += a[transA ? p * m + i : i * k + p]! * b[transB ? j * k + p : p * n + j]!;
      out[i * n + j]! += sum;
    }
  return out;
}

/** out += column sums of x [rows, columns]. */
export function columnSumsReference(x: ArrayLike<number>, out: Float64Array): Float64Array {
  for (let i = 0; i < x.length; i++) out[i % out.length]! += x[i]!;
  return out;
}
