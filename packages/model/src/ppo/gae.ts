/**
 * Generalised advantage estimation over packed sequences in f64 (arXiv 1506.02438). The kernel Ops.gae does the same
 * in f32 on the device; interfaces use this one, since rewards and values are on the host anyway.
 */
export interface GaeInput {
  /** [Σ(L−1)]. */
  readonly rewards: ArrayLike<number>;
  /** [ΣL], denormalised. */
  readonly values: ArrayLike<number>;
  /** [N+1] of L. */
  readonly cuSeqlens: ArrayLike<number>;
  /** [N]: true where the sequence was cut, so that the last value counts. */
  readonly bootstrap: ArrayLike<number | boolean>;
  readonly gamma: number;
  readonly lambda: number;
}

/** Advantages and returns [Σ(L−1)]; inputs are not changed. */
export function gae({ rewards, values, cuSeqlens, bootstrap, gamma, lambda }: GaeInput): {
  advantages: Float64Array;
  returns: Float64Array;
} {
  const n = cuSeqlens.length - 1;
  const advantages = new Float64Array(cuSeqlens[n]! - n);
  const returns = new Float64Array(advantages.length);
  for (let s = 0; s < n; s++) {
    const begin = cuSeqlens[s]!;
    const last = cuSeqlens[s + 1]! - 1;
    let next = bootstrap[s] ? values[last]! : 0;
    let a = 0;
    for (let t = last - 1; t >= begin; t--) {
      const delta = rewards[t - s]! + gamma * next - values[t]!;
      a = delta + gamma * lambda * a;
      advantages[t - s] = a;
      returns[t - s] = a + values[t]!;
      next = values[t]!;
    }
  }
  return { advantages, returns };
}
